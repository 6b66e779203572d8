"""How long the prompts of one call are counted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from producer.bulk import PatientCounter
from producer.token_counter import TokenCount

FOLDER = Path("/nowhere")


class Slow:
    """Takes a second of its own clock for a count."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked = 0

    def count(self, folder: Any, stored_input: Mapping[str, Any]) -> TokenCount:
        self.now_s += 1.0
        self.asked += 1
        return TokenCount(counts=(7,))

    def clock(self) -> float:
        return self.now_s


def test_after_its_time_a_counter_settles_nothing_and_asks_nobody() -> None:
    slow = Slow()
    counter = PatientCounter(slow, 3.0, slow.clock)

    counts = [counter.count(FOLDER, {"prompt": "x"}).counts for _ in range(1000)]

    assert counts == [(7,)] * 3 + [None] * 997
    assert slow.asked == 3


def test_time_that_passes_between_two_counts_does_not_matter() -> None:
    slow = Slow()
    counter = PatientCounter(slow, 3.0, slow.clock)

    for _ in range(2):
        assert counter.count(FOLDER, {"prompt": "x"}).counts == (7,)
        slow.now_s += 100.0
    assert counter.count(FOLDER, {"prompt": "x"}).counts == (7,)
