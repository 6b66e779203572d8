"""Who gets a slot of a worker, and which hints go out again."""

from collections import Counter

import pytest

from workers.slots import Slot, Slots


class Rig:
    """Two queues with two slots each, and the hints that were sent."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.slots = Slots({"a": 2, "b": 2}, self._send)

    def _send(self, queue: str, count: int) -> None:
        self.sent[queue] += count

    def enter(self, queue: str) -> Slot:
        slot = self.slots.enter(queue)
        assert slot is not None
        return slot


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_claim_is_for_its_own_queue_and_those_with_a_free_slot(rig: Rig) -> None:
    first, second = rig.enter("a"), rig.enter("a")
    assert rig.slots.open_to(first) == ["a", "b"]
    for _ in range(2):
        rig.enter("b")
    assert rig.slots.open_to(second) == ["a"]
    assert rig.slots.enter("a") is None


def test_a_slot_that_leaves_is_free_again(rig: Rig) -> None:
    first, _ = rig.enter("a"), rig.enter("a")
    rig.slots.leave(first)
    assert rig.slots.enter("a") is not None


def test_a_hint_for_a_slot_that_took_a_job_of_another_queue_is_passed_on(rig: Rig) -> None:
    slot = rig.enter("a")
    rig.slots.took(slot, "b")
    assert rig.sent == {"a": 1}
    for _ in range(2):
        rig.enter("a")
    rig.enter("b")
    assert rig.slots.enter("b") is None


def test_after_a_batch_that_nothing_could_join_all_free_slots_are_woken(rig: Rig) -> None:
    running = rig.enter("a")
    for _ in range(3):
        blocked = rig.enter("a")
        rig.slots.owe(blocked)
        rig.slots.leave(blocked)
    assert not rig.sent
    rig.slots.took(running, "a")
    assert rig.sent == {"a": 1}
    rig.slots.took(running, "a")
    assert rig.sent == {"a": 1}


def test_nothing_is_owed_where_no_job_waits(rig: Rig) -> None:
    running, blocked = rig.enter("a"), rig.enter("a")
    rig.slots.owe(blocked)
    rig.slots.leave(blocked)
    rig.slots.found_none(["a"])
    rig.slots.took(running, "a")
    assert not rig.sent
