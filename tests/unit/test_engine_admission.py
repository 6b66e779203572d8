"""Admission: arithmetic that must never be wrong."""

from random import Random
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from workers.engine.admission import Admission

ItemT = TypeVar("ItemT")


def _line(*, slots: int = 9, num_blocks: int = 4) -> Admission[Any]:
    return Admission(slots=slots, num_blocks=num_blocks, block_size=16)


def _admit_all(line: Admission[ItemT]) -> list[ItemT]:
    admitted = []
    while (item := line.admit()) is not None:
        admitted.append(item)
    return admitted


def _pause_all(line: Admission[ItemT]) -> list[ItemT]:
    paused = []
    while (item := line.pause()) is not None:
        paused.append(item)
    return paused


def test_items_enter_in_the_order_they_came_as_far_as_there_are_slots() -> None:
    line = _line(slots=2, num_blocks=100)
    for item in "abc":
        line.join(item, worst_tokens=16)
    assert _admit_all(line) == ["a", "b"]
    line.release("a")
    assert _admit_all(line) == ["c"]


def test_an_item_that_cannot_pause_enters_only_when_its_worst_case_fits() -> None:
    line = _line()
    line.join("two blocks", tokens=1, worst_tokens=17)
    line.join("three blocks", tokens=1, worst_tokens=48)
    assert _admit_all(line) == ["two blocks"]
    line.release("two blocks")
    assert _admit_all(line) == ["three blocks"]


def test_a_small_item_does_not_overtake_a_large_one() -> None:
    line = _line()
    for item, tokens in (("first", 32), ("large", 64), ("small", 1)):
        line.join(item, worst_tokens=tokens)
    assert _admit_all(line) == ["first"]


def test_who_leaves_the_line_makes_way_for_the_next() -> None:
    line = _line()
    for item, tokens in (("first", 32), ("large", 64), ("small", 1)):
        line.join(item, worst_tokens=tokens)
    _admit_all(line)
    assert line.remove_waiting(lambda item: item == "large") == ["large"]
    assert _admit_all(line) == ["small"]
    assert line.waiting == 0


def test_items_that_can_pause_enter_on_what_they_have_and_a_block_to_grow_into() -> None:
    line = _line(num_blocks=5)
    for item in "abc":
        line.join(item, tokens=10, worst_tokens=64, can_pause=True)
    assert _admit_all(line) == ["a", "b"]


def test_the_youngest_gives_way_and_then_waits_for_its_worst_case() -> None:
    line = _line()
    for item in "ab":
        line.join(item, tokens=10, worst_tokens=48, can_pause=True)
    assert _admit_all(line) == ["a", "b"]
    for _ in range(22):
        line.grow("a")
    assert _pause_all(line) == []
    for _ in range(22):
        line.grow("b")
    assert _pause_all(line) == ["b"]
    line.join("c", tokens=1, worst_tokens=2, can_pause=True)
    assert _admit_all(line) == []
    line.release("a")
    assert _admit_all(line) == ["b", "c"]


def test_of_those_that_can_give_way_the_least_urgent_is_taken() -> None:
    line = _line(num_blocks=6)
    for item, priority in (("urgent", 0), ("patient", 9), ("usual", 5)):
        line.join(item, tokens=10, worst_tokens=90, priority=priority, can_pause=True)
        assert _admit_all(line) == [item]
    for _ in range(55):
        line.grow("urgent")
    assert _pause_all(line) == ["patient"]


def test_an_urgent_item_enters_before_all_that_are_less_so() -> None:
    line = _line(slots=2)
    for item, priority in (("a", 5), ("b", 9), ("c", 5), ("d", 0)):
        line.join(item, worst_tokens=16, priority=priority)
    entered = []
    while line.waiting:
        entered += _admit_all(line)
        line.release(entered[-1])
    assert entered == ["d", "a", "c", "b"]


def test_urgent_items_that_never_end_let_every_other_in_after_a_batch_of_them() -> None:
    line = _line(slots=4, num_blocks=100)
    line.join("patient", worst_tokens=16, priority=9)
    for number in range(20):
        line.join(number, worst_tokens=16, priority=0)
    assert _admit_all(line) == [0, 1, 2, 3]
    line.release(0)
    assert _admit_all(line) == ["patient"]


@given(
    st.integers(min_value=1, max_value=8),
    st.lists(
        st.tuples(
            st.integers(min_value=1, max_value=160),
            st.integers(min_value=0, max_value=160),
            st.integers(min_value=0, max_value=160),
            st.integers(min_value=0, max_value=9),
            st.booleans(),
        ),
        max_size=50,
    ),
    st.randoms(use_true_random=False),
)
def test_the_cache_is_never_promised_twice_and_everyone_ends(
    slots: int, items: list[tuple[int, int, int, int, bool]], random: Random
) -> None:
    """Items of (prompt, answer, tokens asked for beyond it, priority, can pause)."""
    line = _line(slots=slots, num_blocks=20)
    waiting = list(range(len(items)))
    have = [prompt for prompt, *_ in items]
    inside: list[int] = []
    paused: list[int] = []
    ended = 0
    while waiting or line.waiting or inside:
        while waiting and random.random() < 0.5:
            item = waiting.pop(0)
            prompt, answer, spare, priority, can_pause = items[item]
            worst = min(prompt + answer + spare, 320)
            line.join(
                item, tokens=prompt, worst_tokens=worst, priority=priority, can_pause=can_pause
            )
        out = _pause_all(line)
        paused += out
        inside = [item for item in inside if item not in out]
        inside += _admit_all(line)
        assert waiting or inside
        assert len(inside) == line.inside <= slots
        # What the next step writes fits, for every item.
        assert sum(-(-have[item] // 16) for item in inside) <= line.used_blocks <= 20
        for item in list(inside):
            if have[item] == items[item][0] + items[item][1]:
                inside.remove(item)
                line.release(item)
                ended += 1
            else:
                have[item] += 1
                line.grow(item)
    assert ended == len(items)
    assert line.used_blocks == 0
    assert len(paused) == len(set(paused))
    assert all(items[item][4] for item in paused)


@given(
    st.integers(min_value=1, max_value=5),
    st.lists(st.integers(min_value=0, max_value=9), max_size=80),
    st.randoms(use_true_random=False),
)
def test_no_item_lets_more_pass_than_a_batch_and_equals_keep_their_order(
    slots: int, priorities: list[int], random: Random
) -> None:
    line = _line(slots=slots, num_blocks=1000)
    arrived = 0
    inside: list[int] = []
    entered: list[int] = []
    while arrived < len(priorities) or line.waiting:
        if arrived < len(priorities) and random.random() < 0.7:
            line.join(arrived, worst_tokens=16, priority=priorities[arrived])
            arrived += 1
        if inside and random.random() < 0.5:
            line.release(inside.pop(0))
        admitted = _admit_all(line)
        inside += admitted
        entered += admitted
        if arrived == len(priorities) and inside:
            line.release(inside.pop(0))
    for place, item in enumerate(entered):
        passed_by = [other for other in entered[:place] if other > item]
        assert len(passed_by) <= slots
        assert all(priorities[other] < priorities[item] for other in passed_by)


def test_who_is_held_keeps_the_place_and_lets_others_pass() -> None:
    line = _line(slots=2)
    for item in "abc":
        line.join(item, worst_tokens=16)
    assert line.admit(lambda item: item == "a") == "b"
    assert line.admit(lambda item: item == "a") == "c"
    line.release("b")
    assert line.admit(lambda item: item == "a") is None
    assert line.admit() == "a"
