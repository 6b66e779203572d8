"""The clients' own account of what was accepted, held against what became of it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from contract.errors import StoreUnavailableError, UnknownJobError
from contract.job import Job
from contract.store.audit import audit
from tests.support.service import Service, prompt

Body = Callable[[random.Random, str], dict[str, Any]]


def short_prompt(chance: random.Random, name: str) -> dict[str, Any]:
    """A greedy job of 16 to 160 tokens."""
    return prompt(name, chance.randint(16, 160))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One death of a worker: when (ms since the epoch) and the jobs that it held."""

    at_ms: float
    jobs: frozenset[str]


class Clients:
    """Threads that keep ``in_flight`` jobs waiting or running until told to stop.

    ``pause_s`` is the longest pause between two submits of a thread.
    """

    def __init__(
        self,
        service: Service,
        *,
        in_flight: int,
        threads: int = 8,
        seed: int = 1,
        body: Body = short_prompt,
        pause_s: float = 0.0,
    ) -> None:
        self._service = service
        self._body = body
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._share = max(in_flight // threads, 1)
        self._lock = threading.Lock()
        self.accepted: list[str] = []
        """The ids of all jobs that were answered 202 until now."""
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
                while len(open_jobs) < self._share and not self._stopped.is_set():
                    count += 1
                    body = self._body(chance, f"client {number} job {count}")
                    job = self._service.submit(body)["id"]
                    open_jobs.append(job)
                    with self._lock:
                        self.accepted.append(job)
                    if self._pause_s:
                        self._stopped.wait(chance.uniform(0, self._pause_s))
                ended = {job for job in open_jobs[:10] if self._has_ended(job)}
                open_jobs = [j for j in open_jobs if j not in ended]
                if not ended:
                    self._stopped.wait(0.05)
        except BaseException as error:  # noqa: BLE001 - reported by stop(), in the test's thread
            self.failures.append(error)

    def _has_ended(self, job: str) -> bool:
        try:
            record = self._service.store.get(job)
        except StoreUnavailableError:  # the test has killed Redis: ask again later
            return False
        except UnknownJobError:  # lost; the account will say so
            return True
        return record.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the accepted jobs. ``states`` are terminal ones; dead letters are apart.

    A job is lost when it has not ended in time or its record is not there. ``rerun`` counts runs
    that were repeated because their worker was lost, ``most_reruns`` those of the one job that has
    the most.
    """

    accepted: int
    states: Counter[str]
    lost: int
    finished_twice: int
    rerun: int
    most_reruns: int
    gaps_s: tuple[float, ...]
    findings: Sequence[Any]
    """What ``millrace audit`` says of the store afterwards."""

    @property
    def gap_s(self) -> tuple[float, float, float]:
        """From a worker's death to the next attempt of each of its jobs: p50, p99, max."""
        gaps = sorted(self.gaps_s) or [0.0]
        return median(gaps), gaps[min(int(len(gaps) * 0.99), len(gaps) - 1)], gaps[-1]

    def check(self) -> None:
        """Every accepted job has exactly one end, and the store is in order."""
        assert self.lost == 0, self
        assert self.finished_twice == 0, self
        assert sum(self.states.values()) == self.accepted, self
        assert not self.findings, self.findings


def settle(
    service: Service,
    accepted: Sequence[str],
    kills: Iterable[Kill] = (),
    *,
    timeout_s: float,
    lives: int = 1,
) -> Account:
    """Wait until every accepted job has ended, and count from their own event streams.

    ``lives`` is how often a job may end: once, and once more for each redrive.
    """
    end = time.monotonic() + timeout_s
    records: dict[str, Job] = {}
    open_jobs = list(dict.fromkeys(accepted))
    assert len(open_jobs) == len(accepted), "a job was counted twice"
    while open_jobs and time.monotonic() < end:
        records.update(_ended(service, open_jobs))
        open_jobs = [job for job in open_jobs if job not in records]
        time.sleep(0.1)
    states = Counter("dead" if r.dead else r.state.value for r in records.values())
    twice = 0
    restarts: dict[str, list[float]] = {}
    ids = list(records)
    for start in range(0, len(ids), 200):
        part = ids[start : start + 200]
        for job, events in service.store.read_events(dict.fromkeys(part, "0-0")).items():
            twice += sum(event.kind == "done" for event in events) > lives
            restarts[job] = [
                float(event.id.partition("-")[0]) for event in events if event.kind == "restarted"
            ]
    gaps = [
        (min(later) - kill.at_ms) / 1000
        for kill in kills
        for job in kill.jobs
        if (later := [ms for ms in restarts.get(job, []) if ms > kill.at_ms])
    ]
    return Account(
        accepted=len(accepted), states=states, lost=len(open_jobs), finished_twice=twice,
        rerun=sum(record.losses for record in records.values()),
        most_reruns=max((record.losses for record in records.values()), default=0),
        gaps_s=tuple(gaps), findings=audit(service.store.connection, service.settings).findings,
    )  # fmt: skip


def _ended(service: Service, jobs: Iterable[str]) -> dict[str, Job]:
    ended = {}
    for job in jobs:
        try:
            record = service.store.get(job)
        except (StoreUnavailableError, UnknownJobError):
            continue
        if record.finished:
            ended[job] = record
    return ended
