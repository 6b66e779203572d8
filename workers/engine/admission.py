"""Who may enter the batch: first come, first served, and never more than the cache can hold."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Admission(Generic[ItemT]):
    """A waiting line in front of ``slots`` places and ``num_blocks`` blocks of KV cache.

    An item enters only when its worst case fits beside the worst cases of those inside. So a
    sequence never meets a full cache half-way, where it could neither go on nor give way. The
    line is strict: a small item does not overtake a large one, which could wait for ever.
    """

    def __init__(self, *, slots: int, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self._slots = slots
        self._block_size = block_size
        self._waiting: deque[tuple[ItemT, int]] = deque()
        self._inside: dict[ItemT, int] = {}
        self._used = 0

    @property
    def waiting(self) -> int:
        """Items in the line."""
        return len(self._waiting)

    @property
    def inside(self) -> int:
        """Items that were admitted and not released."""
        return len(self._inside)

    @property
    def used_blocks(self) -> int:
        """Blocks set aside for the items inside."""
        return self._used

    def join(self, item: ItemT, tokens: int) -> None:
        """Stand at the end of the line with a worst case of ``tokens`` tokens."""
        self._waiting.append((item, -(-tokens // self._block_size)))

    def admit(self) -> ItemT | None:
        """Let the first in the line enter if it fits; None when it does not or nobody waits."""
        if not self._waiting or len(self._inside) >= self._slots:
            return None
        item, blocks = self._waiting[0]
        if self._used + blocks > self.num_blocks:
            return None
        self._waiting.popleft()
        self._inside[item] = blocks
        self._used += blocks
        return item

    def release(self, item: ItemT) -> None:
        """Give back the room of an item inside."""
        self._used -= self._inside.pop(item)

    def remove_waiting(self, unwanted: Callable[[ItemT], bool]) -> list[ItemT]:
        """Take those out of the line that are ``unwanted``."""
        gone = [item for item, _ in self._waiting if unwanted(item)]
        if gone:
            self._waiting = deque(each for each in self._waiting if not unwanted(each[0]))
        return gone
