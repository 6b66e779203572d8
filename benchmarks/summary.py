"""Rounds become medians with their spread, and medians become ratios."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measures import MEASURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subject's round of one workload.

    ``same_answers`` counts the answers that are those of the exact form, one job at a time; None
    where that did not run.
    """

    workload: str
    subject: str
    round: int
    seed: int
    measures: Mapping[str, float]
    answers: int
    same_answers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A measure over all rounds."""

    median: float
    low: float
    high: float


Summary = Mapping[str, Mapping[str, Mapping[str, Spread]]]
"""By workload, subject and measure."""


def summarise(rows: Sequence[Row]) -> Summary:
    """The spread of every measure, in the order in which things first ran."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        measures = found.setdefault(row.workload, {}).setdefault(row.subject, {})
        for name, value in row.measures.items():
            measures.setdefault(name, []).append(value)
    return {
        workload: {
            subject: {name: _spread(values) for name, values in measures.items()}
            for subject, measures in subjects.items()
        }
        for workload, subjects in found.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison: the best median of a measure among subjects."""

    workload: str
    measure: str
    subjects: tuple[str, ...]

    def best(self, summary: Summary) -> float | None:
        """None unless every one of the subjects was measured."""
        ran = summary.get(self.workload, {})
        medians = [
            ran[subject][self.measure].median
            for subject in self.subjects
            if self.measure in ran.get(subject, {})
        ]
        if not medians or len(medians) < len(self.subjects):
            return None
        return max(medians) if MEASURES[self.measure].higher_is_better else min(medians)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A figure that matters: one side against another, and what is hoped for.

    The figure is a ratio of medians; with ``difference`` it is ``of`` less ``to``, and without
    ``to`` it is ``of`` alone.
    """

    title: str
    of: Side
    to: Side | None = None
    difference: bool = False
    wanted: float

    def figure(self, summary: Summary) -> float | None:
        """None when a side was not measured."""
        of = self.of.best(summary)
        if of is None or self.to is None:
            return of
        to = self.to.best(summary)
        if to is None or (to == 0 and not self.difference):
            return None
        return of - to if self.difference else of / to

    def met(self, figure: float) -> bool:
        """Whether it is as good as was hoped for."""
        better_above = MEASURES[self.of.measure].higher_is_better
        return figure >= self.wanted if better_above else figure <= self.wanted

    def shown(self, figure: float) -> str:
        """The figure with its unit."""
        if self.to is not None and not self.difference:
            return f"{figure:.2f}x"
        unit = MEASURES[self.of.measure].unit
        return f"{figure:.0f}{unit}" if figure >= 100 else f"{figure:.1f} {unit}"

    @property
    def wish(self) -> str:
        """What was hoped for, in words."""
        bound = "at least" if MEASURES[self.of.measure].higher_is_better else "at most"
        return f"{bound} {self.shown(self.wanted)}"


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median=statistics.median(values), low=min(values), high=max(values))
