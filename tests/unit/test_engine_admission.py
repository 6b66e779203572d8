"""Admission and the plan of the cache: arithmetic that must never be wrong."""

from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import EngineError
from workers.engine.admission import Admission
from workers.engine.cache_plan import CachePlan, available_memory_bytes, plan_cache

ItemT = TypeVar("ItemT")

_MIB = 1 << 20


def _admit_all(line: Admission[ItemT]) -> list[ItemT]:
    admitted = []
    while (item := line.admit()) is not None:
        admitted.append(item)
    return admitted


def test_items_enter_in_the_order_they_came_as_far_as_there_are_slots() -> None:
    line: Admission[str] = Admission(slots=2, num_blocks=100, block_size=16)
    for item in "abc":
        line.join(item, 16)
    assert _admit_all(line) == ["a", "b"]
    line.release("a")
    assert _admit_all(line) == ["c"]


def test_an_item_enters_only_when_its_worst_case_fits() -> None:
    line: Admission[str] = Admission(slots=9, num_blocks=4, block_size=16)
    line.join("two blocks", 17)
    line.join("three blocks", 48)
    assert _admit_all(line) == ["two blocks"]
    line.release("two blocks")
    assert _admit_all(line) == ["three blocks"]


def test_a_small_item_does_not_overtake_a_large_one() -> None:
    line: Admission[str] = Admission(slots=9, num_blocks=4, block_size=16)
    for item, tokens in (("first", 32), ("large", 64), ("small", 1)):
        line.join(item, tokens)
    assert _admit_all(line) == ["first"]


def test_who_leaves_the_line_makes_way_for_the_next() -> None:
    line: Admission[str] = Admission(slots=9, num_blocks=4, block_size=16)
    for item, tokens in (("first", 32), ("large", 64), ("small", 1)):
        line.join(item, tokens)
    _admit_all(line)
    assert line.remove_waiting(lambda item: item == "large") == ["large"]
    assert _admit_all(line) == ["small"]
    assert line.waiting == 0


@given(
    st.integers(min_value=1, max_value=8),
    st.lists(st.integers(min_value=1, max_value=320), max_size=60),
    st.randoms(use_true_random=False),
)
def test_the_cache_is_never_promised_twice_and_everyone_gets_in(
    slots: int, sizes: list[int], random: Random
) -> None:
    line: Admission[int] = Admission(slots=slots, num_blocks=20, block_size=16)
    for item, tokens in enumerate(sizes):
        line.join(item, tokens)
    inside: list[int] = []
    entered: list[int] = []
    while line.waiting or inside:
        admitted = _admit_all(line)
        inside += admitted
        entered += admitted
        assert inside
        assert len(inside) <= slots
        promised = sum(-(-sizes[item] // 16) for item in inside)
        assert promised == line.used_blocks <= 20
        line.release(inside.pop(random.randrange(len(inside))))
    assert entered == list(range(len(sizes)))
    assert line.used_blocks == 0


def _plan(*, slots: int, context_length: int, memory_mib: int) -> CachePlan:
    return plan_cache(
        slots=slots,
        context_length=context_length,
        tokens_per_slot=512,
        block_size=16,
        bytes_per_token=1024,
        memory_bytes=memory_mib * _MIB,
    )


def test_the_cache_holds_a_full_context_for_each_slot_of_a_small_model() -> None:
    plan = _plan(slots=4, context_length=100, memory_mib=100)
    assert (plan.num_blocks, plan.limit_tokens) == (4 * 7, 100)


def test_the_cache_of_a_long_context_holds_what_slots_usually_need() -> None:
    plan = _plan(slots=32, context_length=8192, memory_mib=1024)
    assert (plan.num_blocks * 16, plan.limit_tokens) == (32 * 512, 8192)


def test_the_cache_holds_one_full_context_at_least() -> None:
    plan = _plan(slots=2, context_length=8192, memory_mib=1024)
    assert (plan.num_blocks * 16, plan.limit_tokens) == (8192, 8192)


def test_the_cache_takes_at_most_a_quarter_of_the_memory() -> None:
    plan = _plan(slots=32, context_length=8192, memory_mib=32)
    assert plan.num_blocks * 16 * 1024 == 8 * _MIB


def test_where_not_even_one_context_fits_the_limit_is_what_fits() -> None:
    plan = _plan(slots=2, context_length=8192, memory_mib=4)
    assert plan.limit_tokens == plan.num_blocks * 16 == 1024


def test_memory_for_fewer_blocks_than_slots_is_refused_with_advice() -> None:
    with pytest.raises(EngineError, match="fewer slots"):
        _plan(slots=32, context_length=64, memory_mib=1)


def test_this_machine_has_some_memory_to_offer() -> None:
    assert available_memory_bytes() > _MIB
