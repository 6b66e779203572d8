"""What every subject is asked for."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.queue_cost.figures import in_ms

SLOTS = 32
"""Handlers that sleep run so many at a time, in every subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One round's work, the same for every subject.

    ``jobs`` are asked for at once, of a handler that does nothing and of one that sleeps 50 ms;
    ``singles`` one after another; ``hits`` are submits of a known question. ``name`` makes the
    prompts of each round new.
    """

    name: str
    jobs: int
    singles: int
    hits: int
    fsync: str

    def texts(self, part: str, count: int) -> list[str]:
        """Prompts that no other part and no other round has."""
        return [f"{self.name} {part} {number}" for number in range(count)]


class Subject(Protocol):
    """A queue under test. Each turn starts it, and leaves nothing of it behind."""

    @property
    def missing(self) -> str:
        """Why it cannot be run here, or ""."""

    def turn(self, folder: Path, work: Work) -> Mapping[str, Mapping[str, float]]:
        """Do a round's work; figures by the name of the way in which it was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Many jobs, from the first submit to the last result that the client knows."""

    jobs: int
    seconds: float
    submits_s: Sequence[float]
    cpu_s: Mapping[str, float]

    @property
    def per_s(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    def figures(self, measure: str) -> dict[str, float]:
        """What the burst measured: its rate, submits where they were timed, CPU by process."""
        found = {measure: self.per_s}
        if self.submits_s:
            found["submit p50"] = in_ms(self.submits_s, 0.5)
            found["submit p99"] = in_ms(self.submits_s, 0.99)
        for part, cpu_s in self.cpu_s.items():
            found[f"{measure}: {part} CPU ms a job"] = 1000 * cpu_s / self.jobs
        return found


def timed(
    jobs: int, run: Callable[[], Sequence[float] | None], cpu_s: Callable[[], Mapping[str, float]]
) -> Burst:
    """Run a burst; ``run`` returns the seconds of each submit, if it timed them."""
    before, client_s, started_s = cpu_s(), time.process_time(), time.perf_counter()
    submits_s = run() or ()
    seconds = time.perf_counter() - started_s
    spent = {"client": time.process_time() - client_s}
    spent |= {part: total - before[part] for part, total in cpu_s().items()}
    return Burst(jobs=jobs, seconds=seconds, submits_s=submits_s, cpu_s=spent)


def choose(candidates: Sequence[int], rate: Callable[[int], float]) -> int:
    """The candidate with the highest rate; a single one is not tried."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=rate)


def each_timed(calls: int, call: Callable[[int], Any]) -> list[float]:
    """Seconds of each of so many calls, one after another."""
    taken_s = []
    for number in range(calls):
        started_s = time.perf_counter()
        call(number)
        taken_s.append(time.perf_counter() - started_s)
    return taken_s
