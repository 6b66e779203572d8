"""The plan of the cache: what the batch may need, or what the memory allows."""

import pytest

from contract.errors import EngineError
from workers.engine.cache_plan import (
    CPU_SHARES,
    GPU_SHARES,
    CachePlan,
    Shares,
    available_memory_bytes,
    plan_cache,
)

_MIB = 1 << 20


def _plan(
    *, slots: int, context_length: int, memory_mib: int, shares: Shares = CPU_SHARES
) -> CachePlan:
    return plan_cache(
        slots=slots,
        context_length=context_length,
        block_size=16,
        bytes_per_token=1024,
        memory_bytes=memory_mib * _MIB,
        shares=shares,
    )


def test_the_cache_holds_a_full_context_for_each_slot_where_memory_allows() -> None:
    plan = _plan(slots=4, context_length=100, memory_mib=100)
    assert (plan.num_blocks, plan.limit_tokens) == (4 * 7, 100)


def test_the_cache_takes_at_most_an_eighth_of_a_computers_memory() -> None:
    plan = _plan(slots=32, context_length=8192, memory_mib=256)
    assert plan.num_blocks * 16 * 1024 == 32 * _MIB


def test_the_cache_takes_up_to_half_of_a_gpu() -> None:
    plan = _plan(slots=32, context_length=8192, memory_mib=256, shares=GPU_SHARES)
    assert plan.num_blocks * 16 * 1024 == 128 * _MIB


def test_one_full_context_may_have_a_quarter_of_the_memory() -> None:
    plan = _plan(slots=2, context_length=8192, memory_mib=40)
    assert (plan.num_blocks * 16, plan.limit_tokens) == (8192, 8192)


def test_where_not_even_one_context_fits_the_limit_is_what_fits() -> None:
    plan = _plan(slots=2, context_length=8192, memory_mib=4)
    assert plan.limit_tokens == plan.num_blocks * 16 == 1024


def test_memory_for_fewer_blocks_than_slots_is_refused_with_advice() -> None:
    with pytest.raises(EngineError, match="fewer slots"):
        _plan(slots=32, context_length=64, memory_mib=1)


def test_slots_that_nobody_asked_for_are_as_many_as_have_room_for_a_usual_request() -> None:
    assert _plan(slots=0, context_length=8192, memory_mib=80).most_slots == 20
    assert _plan(slots=0, context_length=8192, memory_mib=8000).most_slots == 64
    assert _plan(slots=0, context_length=128, memory_mib=8000).most_slots == 64
    assert _plan(slots=0, context_length=8192, memory_mib=1).most_slots == 1


def test_this_machine_has_some_memory_to_offer() -> None:
    assert available_memory_bytes() > _MIB
