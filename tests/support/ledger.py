"""The clients' own account of what was accepted, held against what became of it."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from contract.errors import StoreUnavailableError
from tests.support.stack import Stack, prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill -9: when (ms since the epoch) and the jobs that the worker held."""

    at_ms: float
    jobs: frozenset[str]


class Clients:
    """Threads that keep ``in_flight`` jobs waiting or running until told to stop."""

    def __init__(self, stack: Stack, *, in_flight: int, threads: int = 8, seed: int = 1) -> None:
        self._stack = stack
        self._stopped = threading.Event()
        self._share = in_flight // threads
        self._lock = threading.Lock()
        self.accepted: list[str] = []
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n), n))
            for n in range(threads)
        ]

    def start(self) -> "Clients":
        """Begin to submit."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> list[str]:
        """Submit no more; the ids of all jobs that were answered 202."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures[0]
        return self.accepted

    def _run(self, chance: random.Random, number: int) -> None:
        open_jobs: list[str] = []
        count = 0
        try:
            while not self._stopped.is_set():
                while len(open_jobs) < self._share:
                    count += 1
                    body = prompt(f"client {number} job {count}", chance.randint(16, 160))
                    job = self._stack.submit(body)["id"]
                    open_jobs.append(job)
                    with self._lock:
                        self.accepted.append(job)
                ended = {job for job in open_jobs[:10] if self._has_ended(job)}
                open_jobs = [j for j in open_jobs if j not in ended]
                if not ended:
                    self._stopped.wait(0.05)
        except BaseException as error:  # noqa: BLE001 - reported by stop(), in the test's thread
            self.failures.append(error)

    def _has_ended(self, job: str) -> bool:
        try:
            return self._stack.store.get(job).finished
        except StoreUnavailableError:  # the test has killed Redis: ask again later
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the accepted jobs."""

    accepted: int
    states: Counter[str]
    lost: int
    finished_twice: int
    rerun: int
    gaps_s: tuple[float, ...]

    def __str__(self) -> str:
        gaps = sorted(self.gaps_s)
        p99 = gaps[min(int(len(gaps) * 0.99), len(gaps) - 1)] if gaps else 0.0
        states = ", ".join(f"{name} {n}" for name, n in sorted(self.states.items()))
        return (
            f"accepted {self.accepted}: {states}, lost {self.lost}, finished twice"
            f" {self.finished_twice}, re-run {self.rerun};"
            f" gap p50 {median(gaps) if gaps else 0:.2f} s, p99 {p99:.2f} s,"
            f" max {gaps[-1] if gaps else 0:.2f} s over {len(gaps)}"
        )


def settle(stack: Stack, accepted: list[str], kills: list[Kill], timeout_s: float) -> Account:
    """Wait until every accepted job has ended, and count from their own event streams."""
    end = time.monotonic() + timeout_s
    open_jobs = list(accepted)
    while open_jobs and time.monotonic() < end:
        open_jobs = [j for j in open_jobs if not stack.store.get(j).finished]
        time.sleep(0.1)
    states: Counter[str] = Counter()
    twice = rerun = 0
    restarts: dict[str, list[int]] = {}
    for start in range(0, len(accepted), 200):
        part = accepted[start : start + 200]
        for job, events in stack.store.read_events(dict.fromkeys(part, "0-0")).items():
            record = stack.store.get(job)
            states["dead" if record.dead else record.state.value] += 1
            twice += sum(e.kind == "done" for e in events) > 1
            rerun += record.losses > 0
            restarts[job] = [_ms(e) for e in events if e.kind == "restarted"]
    gaps = [
        (min(later) - kill.at_ms) / 1000
        for kill in kills
        for job in kill.jobs
        if (later := [ms for ms in restarts.get(job, []) if ms > kill.at_ms])
    ]
    return Account(
        accepted=len(accepted), states=states, lost=len(open_jobs), finished_twice=twice,
        rerun=rerun, gaps_s=tuple(gaps),
    )  # fmt: skip


def _ms(event: Any) -> int:
    return int(event.id.partition("-")[0])
