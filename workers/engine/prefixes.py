"""Which prompts gain by waiting until another has computed what they have in common with it."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

#: A prompt waits for another only if that saves it so many tokens.
LEAST_TOKENS = 64
#: Blocks of prompts that are taken for being in the cache; the oldest are forgotten first.
_REMEMBERED = 16_384


class PromptPrefixes(Generic[ItemT]):
    """Follows prompts from the line through their computation, block by block of the KV cache.

    The engine finds a prefix in its cache when a prompt enters the batch. Prompts that enter
    together do not find what they share, as none of them has computed it; so one goes first. That
    the cache has dropped a prefix since is not known here; then the next prompts enter together.
    """

    def __init__(self, *, block_size: int) -> None:
        self._block_size = block_size
        self._blocks: dict[ItemT, list[int]] = {}
        self._computing: set[ItemT] = set()
        self._coming: Counter[int] = Counter()
        self._computed: OrderedDict[int, None] = OrderedDict()

    def join(self, item: ItemT, tokens: Sequence[int]) -> None:
        """A prompt stands in line; only its whole blocks can be shared."""
        blocks, before = [], 0
        for first in range(0, len(tokens) - self._block_size + 1, self._block_size):
            before = hash((before, *tokens[first : first + self._block_size]))
            blocks.append(before)
        self._blocks[item] = blocks

    def gains_by_waiting(self, item: ItemT) -> bool:
        """Whether a prompt that is being computed is about to leave it more than there is now."""
        there, coming = 0, 0
        for block in self._blocks[item]:
            if block in self._computed:
                there += 1
            elif not self._coming[block]:
                break
            coming += 1
        return (coming - there) * self._block_size >= LEAST_TOKENS

    def enter(self, item: ItemT) -> None:
        """Its prompt is being computed from now on."""
        self._computing.add(item)
        self._coming.update(self._blocks[item])

    def computed(self, item: ItemT) -> None:
        """Its prompt is in the cache. The second call of an item changes nothing."""
        if self._stop(item):
            for block in self._blocks[item]:
                self._computed[block] = None
                self._computed.move_to_end(block)
            while len(self._computed) > _REMEMBERED:
                self._computed.popitem(last=False)

    def interrupt(self, item: ItemT) -> None:
        """It goes back into the line; what it had computed is not counted on."""
        self._stop(item)

    def leave(self, item: ItemT) -> None:
        """It is neither in the line nor in the batch any more."""
        self._stop(item)
        del self._blocks[item]

    def _stop(self, item: ItemT) -> bool:
        if item not in self._computing:
            return False
        self._computing.discard(item)
        for block in self._blocks[item]:
            self._coming[block] -= 1
            if not self._coming[block]:
                del self._coming[block]
        return True
