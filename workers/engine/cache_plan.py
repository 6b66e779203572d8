"""How large the KV cache is: what the slots usually need, or what the memory allows."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from contract.errors import EngineError

_SHARE_OF_MEMORY = 4
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


def plan_cache(
    *,
    slots: int,
    context_length: int,
    tokens_per_slot: int,
    block_size: int,
    bytes_per_token: int,
    memory_bytes: int,
) -> CachePlan:
    """Room for ``tokens_per_slot`` in each slot, and for one full context at least.

    But no more than a quarter of ``memory_bytes``: in time the cache fills with prefixes of
    past prompts, so all of it is used in the end, and a machine may have several workers.

    Raises:
        EngineError: the memory does not hold one block for each slot.
    """
    per_slot = -(-min(context_length, tokens_per_slot) // block_size)
    wanted = max(slots * per_slot, -(-context_length // block_size))
    affordable = memory_bytes // _SHARE_OF_MEMORY // (bytes_per_token * block_size)
    num_blocks = min(wanted, affordable)
    if num_blocks < slots:
        raise EngineError(
            f"a quarter of {memory_bytes >> 20} MiB of memory holds {num_blocks} cache blocks, too"
            f" few for {slots} slots; use fewer slots or free some memory"
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
