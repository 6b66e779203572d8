"""What a round of a workload says: rates, waiting times, gaps between tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.workloads import Item, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered item; times are seconds of one clock.

    ``due_s`` is when the item was to be asked (for a client that asks one after the other: when
    it was). ``pieces`` of a streamed answer are the times at which text arrived, each with the
    tokens that the answer had by then.
    """

    item: Item
    due_s: float
    ended_s: float
    tokens: int
    text: str
    pieces: tuple[tuple[float, int], ...] = ()

    @property
    def first_token_s(self) -> float:
        """From the request to the first text."""
        return self.pieces[0][0] - self.due_s

    @property
    def gaps(self) -> list[tuple[float, float, int]]:
        """Begin, end and new tokens of each wait between two pieces."""
        following = zip(self.pieces, self.pieces[1:], strict=False)
        return [(a[0], b[0], b[1] - a[1]) for a, b in following]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a measure is called and read."""

    unit: str
    higher_is_better: bool
    meaning: str


MEASURES: dict[str, Measure] = {
    "tokens/s": Measure(
        unit="/s", higher_is_better=True, meaning="generated tokens of all answers per second"
    ),
    "requests/s": Measure(unit="/s", higher_is_better=True, meaning="answers per second"),
    "texts/s": Measure(unit="/s", higher_is_better=True, meaning="embedded texts per second"),
    "latency p50": Measure(
        unit="ms", higher_is_better=False, meaning="from the request to the whole answer"
    ),
    "latency p99": Measure(
        unit="ms", higher_is_better=False, meaning="from the request to the whole answer"
    ),
    "first token p50": Measure(
        unit="ms", higher_is_better=False, meaning="from the request to the first text"
    ),
    "first token p99": Measure(
        unit="ms", higher_is_better=False, meaning="from the request to the first text"
    ),
    "inter-token p50": Measure(
        unit="ms",
        higher_is_better=False,
        meaning="between two pieces of text, divided by the tokens of the second",
    ),
    "inter-token p99": Measure(
        unit="ms",
        higher_is_better=False,
        meaning="between two pieces of text, divided by the tokens of the second",
    ),
    "longest stall": Measure(
        unit="ms",
        higher_is_better=False,
        meaning="longest wait of a running stream while the long prompt is read",
    ),
}


def measure(workload: Workload, answers: Sequence[Answer]) -> dict[str, float]:
    """The measures that make sense for a workload, by name; times in milliseconds."""
    seconds = max(a.ended_s for a in answers) - min(a.due_s for a in answers)
    found = {"requests/s": len(answers) / seconds}
    if texts := sum(answer.item.texts for answer in answers):
        found["texts/s"] = texts / seconds
    if tokens := sum(answer.tokens for answer in answers):
        found["tokens/s"] = tokens / seconds
    found |= _percentiles("latency", [answer.ended_s - answer.due_s for answer in answers])
    if workload.streamed:
        found |= _percentiles("first token", [a.first_token_s for a in answers if a.pieces])
        found |= _percentiles("inter-token", _waits_per_token(answers))
    if workload.newcomer is not None:
        found["longest stall"] = 1000 * longest_stall(answers, workload.newcomer)
    return found


def longest_stall(answers: Sequence[Answer], newcomer: int) -> float:
    """The longest wait (s) of the others that touches the time to the newcomer's first token."""
    late = answers[newcomer]
    begin, end = late.due_s, late.pieces[0][0]
    others = [answer for index, answer in enumerate(answers) if index != newcomer]
    gaps = (gap for answer in others for gap in answer.gaps)
    return max((b - a for a, b, _ in gaps if b >= begin and a <= end), default=0.0)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _waits_per_token(answers: Sequence[Answer]) -> list[float]:
    """A piece of three tokens gives its wait, a third of it, three times."""
    waits: list[float] = []
    for answer in answers:
        for begin, end, tokens in answer.gaps:
            waits += [(end - begin) / tokens] * tokens if tokens > 0 else []
    return waits


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"{name} p{p}": 1000 * percentile(seconds, p) for p in (50, 99)}
