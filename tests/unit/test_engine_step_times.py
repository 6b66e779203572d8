"""From the times of a few steps to the size of a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.step_times import (
    MOST_WAIT_S,
    StepTimes,
    choose_slots,
    choose_tokens_per_step,
)


def _times(
    *,
    first_row_ms: float,
    each_row_ms: float,
    rows: int = 32,
    mixed_ms: float | None = None,
    prompt_tokens_per_s: float = 1000,
) -> StepTimes:
    many_rows_ms = first_row_ms + (rows - 1) * each_row_ms
    return StepTimes(
        one_row_s=first_row_ms / 1000,
        many_rows_s=many_rows_ms / 1000,
        many_rows=rows,
        mixed_s=(many_rows_ms if mixed_ms is None else mixed_ms) / 1000,
        prompt_s=128 / prompt_tokens_per_s,
        prompt_tokens=128,
    )


def test_rows_that_cost_nothing_are_all_taken() -> None:
    times = _times(first_row_ms=5, each_row_ms=0.01)
    assert choose_slots(times, most=64) == 64


def test_rows_that_raise_no_speed_are_not_taken() -> None:
    times = _times(first_row_ms=10, each_row_ms=10)
    assert choose_slots(times, most=64) == 4


def test_rows_are_doubled_while_that_brings_clearly_more_tokens_a_second() -> None:
    # 32 rows take 37.2 ms: 860 tokens/s; 64 take 66 ms: 970, an eighth more.
    times = _times(first_row_ms=9.3, each_row_ms=0.9)
    assert choose_slots(times, most=64) == 32


def test_no_more_rows_are_taken_than_a_reader_has_patience_for() -> None:
    times = _times(first_row_ms=100, each_row_ms=4)
    assert choose_slots(times, most=64) == 32


@pytest.mark.parametrize("most", [1, 2, 3])
def test_memory_for_few_slots_is_the_limit(most: int) -> None:
    assert choose_slots(_times(first_row_ms=5, each_row_ms=0.01), most=most) == most


def test_one_measured_row_is_enough_to_choose_from() -> None:
    times = _times(first_row_ms=5, each_row_ms=1, rows=1)
    assert choose_slots(times, most=1) == 1
    assert choose_tokens_per_step(times, slots=1, most=256) > 16


def test_many_rows_that_were_faster_than_one_are_a_measuring_error_and_no_crash() -> None:
    times = _times(first_row_ms=5, each_row_ms=-0.1)
    assert choose_slots(times, most=64) == 64


def test_a_slow_machine_takes_up_a_prompt_in_small_parts() -> None:
    slow = _times(first_row_ms=20, each_row_ms=1, rows=8, prompt_tokens_per_s=300)
    assert choose_tokens_per_step(slow, slots=8, most=256) == 48
    fast = _times(first_row_ms=2, each_row_ms=0.1, rows=8, prompt_tokens_per_s=10_000)
    assert choose_tokens_per_step(fast, slots=8, most=256) == 256


def test_rows_that_are_slow_beside_a_prompt_leave_it_less() -> None:
    quick = _times(first_row_ms=20, each_row_ms=1, mixed_ms=60)
    slow = _times(first_row_ms=20, each_row_ms=1, mixed_ms=180)
    assert choose_tokens_per_step(quick, slots=32, most=256) == 176
    assert choose_tokens_per_step(slow, slots=32, most=256) == 80


@given(
    st.floats(min_value=1e-4, max_value=5),
    st.floats(min_value=1e-6, max_value=1),
    st.integers(min_value=1, max_value=64),
    st.floats(min_value=1e-4, max_value=20),
    st.floats(min_value=1e-4, max_value=20),
    st.integers(min_value=1, max_value=64),
    st.sampled_from([256, 2048]),
)
def test_prompts_have_as_large_a_share_as_answers_whatever_was_measured(
    first_s: float,
    each_s: float,
    rows: int,
    mixed_s: float,
    prompt_s: float,
    most_slots: int,
    most_tokens: int,
) -> None:
    times = StepTimes(
        one_row_s=first_s,
        many_rows_s=first_s + (rows - 1) * each_s,
        many_rows=rows,
        mixed_s=mixed_s,
        prompt_s=prompt_s,
        prompt_tokens=128,
    )
    slots = choose_slots(times, most=most_slots)
    assert 1 <= slots <= most_slots
    tokens = choose_tokens_per_step(times, slots=slots, most=max(most_tokens, 2 * most_slots))
    assert tokens >= 2 * slots
    beside_rows_s = mixed_s * slots / rows
    if tokens > 2 * slots and beside_rows_s <= 0.75 * MOST_WAIT_S and tokens > 16:
        assert beside_rows_s + tokens * prompt_s / 128 <= MOST_WAIT_S
