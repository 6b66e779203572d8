"""Who may enter the batch, and who leaves it when the cache is full."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


@dataclass(slots=True)
class _Place(Generic[ItemT]):
    """An item in the line or inside. ``passed`` counts those that came later and went before."""

    item: ItemT
    tokens: int
    worst_tokens: int
    priority: int
    can_pause: bool
    passed: int = 0


class Admission(Generic[ItemT]):
    """A waiting line in front of ``slots`` places and ``num_blocks`` blocks of KV cache.

    An item that can pause enters when what it has now fits, with a block to grow into; most
    end long before their worst case. When those inside have outgrown the cache, the youngest of
    them gives way: it goes to the head of the line, and then waits for its worst case, as any
    item does that cannot pause. So nobody pauses twice, and the cache is never promised twice.

    The line is strict: a small item does not overtake a large one, which could wait for ever. A
    more urgent item stands before the less urgent ones, but each of these lets no more than
    ``slots`` others pass: a batch full of urgent items, and then it is its turn.
    """

    def __init__(self, *, slots: int, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self._slots = slots
        self._block_size = block_size
        self._waiting: list[_Place[ItemT]] = []
        self._inside: dict[ItemT, _Place[ItemT]] = {}

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
        """Blocks that the items inside need now, or may need where they cannot pause."""
        return sum(self._needed(each) for each in self._inside.values())

    def join(
        self,
        item: ItemT,
        *,
        tokens: int = 0,
        worst_tokens: int = 0,
        priority: int = 0,
        can_pause: bool = False,
    ) -> None:
        """Stand in line with so many tokens now and at worst; ``priority`` 0 is most urgent.

        ``worst_tokens`` must fit into the cache, or the line would stand still.
        """
        place = _Place(item, tokens, worst_tokens, priority, can_pause)
        index = len(self._waiting)
        while index and self._gives_way(self._waiting[index - 1], priority):
            index -= 1
            self._waiting[index].passed += 1
        self._waiting.insert(index, place)

    def admit(self, held: Callable[[ItemT], bool] = lambda _: False) -> ItemT | None:
        """Let the first in the line enter if it fits; None when it does not or nobody waits.

        Those that are ``held`` keep their places, and let others pass. Whoever holds them must let
        go of them soon, since that is counted by nobody.
        """
        if len(self._inside) >= self._slots:
            return None
        first = next((each for each in self._waiting if not held(each.item)), None)
        if first is None:
            return None
        with_first = [*self._inside.values(), first]
        if sum(self._needed(each, ahead=1) for each in with_first) > self.num_blocks:
            return None
        self._waiting.remove(first)
        self._inside[first.item] = first
        return first.item

    def grow(self, item: ItemT) -> None:
        """An item inside has one more token."""
        self._inside[item].tokens += 1

    def pause(self) -> ItemT | None:
        """Send an item back to the head of the line if the others need its room; else None."""
        if self.used_blocks <= self.num_blocks:
            return None
        # Of equals max takes the first, which is the youngest here.
        able = [each for each in reversed(self._inside.values()) if each.can_pause]
        place = max(able, key=lambda each: each.priority)
        del self._inside[place.item]
        place.can_pause = False
        place.passed = self._slots
        self._waiting.insert(0, place)
        return place.item

    def release(self, item: ItemT) -> None:
        """Give back the room of an item inside."""
        del self._inside[item]

    def remove_waiting(self, unwanted: Callable[[ItemT], bool]) -> list[ItemT]:
        """Take those out of the line that are ``unwanted``."""
        gone: list[_Place[ItemT]] = []
        stay: list[_Place[ItemT]] = []
        for each in self._waiting:  # each is asked once: the answer may change meanwhile
            (gone if unwanted(each.item) else stay).append(each)
        self._waiting = stay
        return [each.item for each in gone]

    def _needed(self, place: _Place[ItemT], ahead: int = 0) -> int:
        """Blocks for an item: the next token is written, too, before it is known."""
        worst = -(-place.worst_tokens // self._block_size)
        if not place.can_pause:
            return worst
        return min(-(-(place.tokens + 1) // self._block_size) + ahead, worst)

    def _gives_way(self, place: _Place[ItemT], priority: int) -> bool:
        return priority < place.priority and place.passed < self._slots
