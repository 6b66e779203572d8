"""How large the KV cache is: what the batch may need, or what the memory allows."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from contract.errors import EngineError

_USUAL_TOKENS = 512  # of a prompt and its answer
_MOST_SLOTS = 64  # more rows add next to nothing to the speed, and each is a thread of the worker
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """A cache of ``num_blocks`` blocks of ``block_size`` tokens.

    ``limit_tokens`` is the most that one sequence, prompt and answer, may have: the model's
    context length, or what the cache can hold where memory is short.
    """

    num_blocks: int
    block_size: int
    limit_tokens: int

    @property
    def most_slots(self) -> int:
        """The most slots that make sense: each has room for a usual request."""
        usual = -(-min(self.limit_tokens, _USUAL_TOKENS) // self.block_size)
        return min(max(self.num_blocks // usual, 1), _MOST_SLOTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Which parts of the free memory a cache may take.

    In time the cache fills with prefixes of past prompts, so all of it is used in the end. The
    memory of a CPU is shared with everything else, and several workers may start at once; a GPU
    is leased by one worker, which may serve other models too. One full context is worth more.
    """

    usual: int
    one_context: int


CPU_SHARES = Shares(usual=8, one_context=4)
GPU_SHARES = Shares(usual=2, one_context=2)


def plan_cache(
    *,
    slots: int,
    context_length: int,
    block_size: int,
    bytes_per_token: int,
    memory_bytes: int,
    shares: Shares = CPU_SHARES,
) -> CachePlan:
    """Room for a full context in each slot, or what ``shares`` of ``memory_bytes`` allow.

    ``slots`` is 0 when their number is yet to be decided.

    Raises:
        EngineError: the memory does not hold one block for each slot.
    """
    one_context = -(-context_length // block_size)
    block_bytes = bytes_per_token * block_size
    usual = min((slots or _MOST_SLOTS) * one_context, memory_bytes // shares.usual // block_bytes)
    least = min(one_context, memory_bytes // shares.one_context // block_bytes)
    num_blocks = max(usual, least)
    if num_blocks < max(slots, 1):
        raise EngineError(
            f"{num_blocks} cache blocks fit into the share of {memory_bytes >> 20} MiB of memory"
            f" that a cache may take, too few for {max(slots, 1)} slots; use fewer slots or free"
            " some memory"
        )
    return CachePlan(
        num_blocks=num_blocks,
        block_size=block_size,
        limit_tokens=min(context_length, num_blocks * block_size),
    )


def available_memory_bytes() -> int:
    """Memory that this process could still use, the limit of its container considered."""
    free = int(psutil.virtual_memory().available)
    limit = _read_bytes(_CGROUP / "memory.max")
    used = _read_bytes(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        free = min(free, limit - used)
    return max(free, 0)


def _read_bytes(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return None
