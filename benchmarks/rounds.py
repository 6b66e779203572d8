"""Opens subjects when they are needed, and lets them take turns."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPException

import psutil

from benchmarks.load import run_workload
from benchmarks.measures import measure
from benchmarks.plan import ENGINE, ONE, Entry
from benchmarks.quality import Quality, count_same, judge
from benchmarks.subjects.catalog import open_subject
from benchmarks.subjects.subject import Bench, Subject
from benchmarks.summary import Row
from benchmarks.workloads import embed, mixed
from contract.errors import MillraceError

_WARM_UP = 10_000  # a seed that no measured round uses
_IDLE_S = 2.0
_FAILURES = (MillraceError, RuntimeError, OSError, ValueError, KeyError, HTTPException)


class Subjects:
    """The subjects that are open; a context manager. What cannot be had is left out."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stacks: dict[str, ExitStack] = {}
        self._open: dict[str, Subject] = {}
        self.about: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        """Why a subject is missing, by name."""
        self.idle: dict[str, float] = {}
        """The share of one core that a subject with processes of its own takes when idle."""
        self.quality: dict[str, Quality] = {}

    def __enter__(self) -> "Subjects":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._open):
            self.drop(name)

    def need(self, names: Sequence[str]) -> Mapping[str, Subject]:
        """Those of ``names`` that can be had, open and warm."""
        new = [name for name in names if name not in self._open and name not in self.left_out]
        for name in new:
            say(f"  starting {name}")
            self._start(name)
        self._measure_idle([name for name in new if name in self._open])
        return {name: self._open[name] for name in names if name in self._open}

    def keep(self, names: Iterable[str]) -> None:
        """Stop the subjects that are not among ``names``."""
        for name in set(self._open) - set(names):
            self.drop(name)

    def leave_out(self, name: str, error: Exception) -> None:
        """A subject that failed takes no further part."""
        self.left_out[name] = str(error) or repr(error)
        say(f"  {name} is left out: {self.left_out[name]}")
        if name in self._open:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Stop a subject."""
        del self._open[name]
        self._stacks.pop(name).close()

    def _start(self, name: str) -> None:
        with ExitStack() as stack:
            try:
                subject = stack.enter_context(open_subject(self._bench, name))
                warm_up = embed if name.endswith(":minilm") else mixed
                run_workload(subject, warm_up(_WARM_UP, 4))
                quality = judge(self._bench.store, name, subject)
            except _FAILURES as error:
                self.leave_out(name, error)
                return
            self._open[name] = subject
            self._stacks[name] = stack.pop_all()
            self.about[name] = subject.about
            if quality is not None:
                self.quality[name] = quality

    def _measure_idle(self, names: Sequence[str]) -> None:
        """Servers stay up beside each other: what they take then is part of the record."""
        found = {name: self._open[name].processes() for name in names}
        before = {name: _cpu_s(processes) for name, processes in found.items() if processes}
        if before:
            time.sleep(_IDLE_S)
        for name, seconds in before.items():
            self.idle[name] = (_cpu_s(found[name]) - seconds) / _IDLE_S


def run_rounds(
    entry: Entry,
    count: int,
    names: Sequence[str],
    subjects: Subjects,
    *,
    seeds: Sequence[int],
    capacity: float,
) -> list[Row]:
    """Each seed is a round: the same items for every subject, which take turns.

    A round begins with another subject than the last one. A subject that fails is left out from
    then on.
    """
    opened = subjects.need(names)
    rows: list[Row] = []
    for number, seed in enumerate(seeds):
        workload = entry.make(seed, count, capacity)
        texts: dict[str, list[str]] = {}
        round_rows: list[Row] = []
        for name in _turns(names, number, len(seeds)):
            subject = opened.get(name)
            if subject is None or name in subjects.left_out:
                continue
            try:
                answers = run_workload(subject, workload)
            except _FAILURES as error:
                subjects.leave_out(name, error)
                continue
            texts[name] = [answer.text for answer in answers]
            row = Row(
                workload=entry.name,
                subject=name,
                round=number + 1,
                seed=seed,
                measures=measure(workload, answers),
                answers=len(answers),
            )
            round_rows.append(row)
            shown = ", ".join(f"{m} {v:.1f}" for m, v in row.measures.items() if m in entry.shows)
            say(f"  round {number + 1} {name:18} {shown}")
        rows += _with_same_answers(round_rows, texts)
    return rows


def say(line: str) -> None:
    """Progress goes to stderr; the report has stdout to itself."""
    print(line, file=sys.stderr, flush=True)


def _with_same_answers(rows: Sequence[Row], texts: Mapping[str, Sequence[str]]) -> list[Row]:
    expected = texts.get(ONE) or texts.get(ENGINE)
    if expected is None or not any(expected):
        return list(rows)
    return [replace(r, same_answers=count_same(texts[r.subject], expected)) for r in rows]


def _turns(names: Sequence[str], number: int, rounds: int) -> list[str]:
    begin = number * len(names) // rounds
    return [*names[begin:], *names[:begin]]


def _cpu_s(processes: Sequence[int]) -> float:
    total = 0.0
    for pid in processes:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
