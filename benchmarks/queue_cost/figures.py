"""Figures of single turns, and what all rounds together say."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, float]
"""What one turn measured, by measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One column of the table. ``higher`` says which of two is the better one."""

    name: str
    unit: str
    higher: bool
    digits: int = 0


MEASURES = (
    Measure(name="no-op", unit="jobs/s", higher=True),
    Measure(name="50 ms", unit="jobs/s", higher=True),
    Measure(name="submit p50", unit="ms", higher=False, digits=2),
    Measure(name="submit p99", unit="ms", higher=False, digits=2),
    Measure(name="result p50", unit="ms", higher=False, digits=1),
    Measure(name="first token p50", unit="ms", higher=False, digits=1),
    Measure(name="cache hit p50", unit="ms", higher=False, digits=2),
    Measure(name="cache hits", unit="hits/s", higher=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A measure over all rounds."""

    median: float
    low: float
    high: float
    rounds: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, the nearest one that was measured."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def in_ms(values_s: Sequence[float], share: float) -> float:
    """The percentile of seconds, in ms."""
    return percentile(values_s, share) * 1000


def summarize(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Spread]]:
    """The spread of every measure of every subject, in the order of their first appearance.

    ``rows`` have a ``subject`` and ``figures``.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        of_subject = found.setdefault(row["subject"], {})
        for name, value in row["figures"].items():
            of_subject.setdefault(name, []).append(value)
    return {
        subject: {
            name: Spread(
                median=statistics.median(values), low=min(values), high=max(values),
                rounds=len(values),
            )
            for name, values in measures.items()
        }
        for subject, measures in found.items()
    }  # fmt: skip


def best(
    summary: Mapping[str, Mapping[str, Spread]], measure: Measure, beginning: str
) -> tuple[str, float] | None:
    """The subject whose name has that beginning with the best median, and that median."""
    medians = [
        (subject, spreads[measure.name].median)
        for subject, spreads in summary.items()
        if subject.startswith(beginning) and measure.name in spreads
    ]
    choose = max if measure.higher else min
    return choose(medians, key=lambda pair: pair[1], default=None)


def ratios(
    summary: Mapping[str, Mapping[str, Spread]], ours: str, others: Sequence[str]
) -> list[dict[str, Any]]:
    """Our best against the best of each other family, as ratios that are above 1 where we win."""
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        mine = best(summary, measure, ours)
        for family in others:
            theirs = best(summary, measure, family)
            if mine is None or theirs is None or not mine[1] or not theirs[1]:
                continue
            ratio = mine[1] / theirs[1] if measure.higher else theirs[1] / mine[1]
            rows.append(
                {"measure": measure.name, "ours": mine[0], "theirs": theirs[0], "ratio": ratio}
            )
    return rows
