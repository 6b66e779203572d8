"""A fleet of workers that are the product's but for their engine, many in one process.

``python -m benchmarks.scaling_fleet`` is one process of it, told by the first line of its input. It
says ``ready`` when every worker is registered, takes hints from the next line on, and ends with its
input.

A worker here is all of workers.app that speaks to Redis: the executor, the leases with their beat
and presence, the publisher, the reaper. It takes hints as Celery does: one BRPOP for each free
slot.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.scaling_jobs import QUEUE, job_maker, register, settings_for
from benchmarks.scaling_redis import Spent, between, read
from contract.errors import MillraceError
from contract.logs import configure_logs
from contract.queues import HintPublisher
from contract.reaper import Reaper
from contract.settings import Settings
from contract.store import SUBMITS_AT_ONCE, AttemptStore, Connection, JobStore, ReapStore
from tests.support.simulated_engine import SimulatedEngine
from tests.support.worker_process import ROOT
from workers.executor import Executor, Served
from workers.leases import LeaseKeeper
from workers.publisher import TokenPublisher

_STACK_BYTES = 512 * 1024
_STRIDE = 7919  # a prime: neighbours in the line differ in length
_LEAD_S = 2.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Workers of so many ``slots``, and jobs of ``tokens`` that take ``token_s`` each.

    For the length of ``waves`` jobs it is counted what ends. Slots are out of step by then, as with
    real jobs: those that come first are of all lengths.
    """

    slots: int = 16
    tokens: int = 40
    token_s: float = 0.2
    waves: int = 3

    @property
    def job_s(self) -> float:
        """What a job takes without any queue."""
        return self.tokens * self.token_s

    def lengths(self, workers: int) -> list[int]:
        """Tokens of each job: one of any length for each slot, then more than will be done."""
        slots = workers * self.slots
        first = [1 + number * _STRIDE % slots * self.tokens // slots for number in range(slots)]
        return first + [self.tokens] * (slots * (self.waves + 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What so many workers did in a while in which no slot was without work."""

    workers: int
    jobs: int
    seconds: float
    spent: Spent
    fleet_cpu_s: float

    @property
    def per_s(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


def efficiency(point: Point, one: Point) -> float:
    """Of so many workers, against as many times one worker."""
    return point.per_s / (point.workers * one.per_s)


def shares(workers: int, processes: int) -> list[int]:
    """How many workers each process has; none has no worker."""
    processes = min(workers, processes)
    return [workers // processes + (n < workers % processes) for n in range(processes)]


class SimulatedWorker:
    """One worker of the fleet."""

    def __init__(
        self, connection: Connection, settings: Settings, hints: HintPublisher, name: str,
        shape: Shape,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._slots = shape.slots
        self._store = AttemptStore(connection, settings, name)
        engine = SimulatedEngine(slots=shape.slots, token_s=shape.token_s)
        served = {QUEUE: Served(queue=QUEUE, engine=engine, slots=shape.slots)}
        self._leases = LeaseKeeper(
            self._store, queues=[QUEUE], lease_s=settings.lease_s, register=self._register
        )
        self._publisher = TokenPublisher(self._store, on_lost=self._leases.lose)
        self._executor = Executor(served, self._store, self._leases, self._publisher, hints)
        self._free = threading.Semaphore(shape.slots)
        self._threads = ThreadPoolExecutor(shape.slots)
        self._number = int(name.rpartition("-")[2])
        self._hints = hints
        self._reaper = Reaper(ReapStore(connection, settings), hints)

    def start(self) -> None:
        """Register and beat."""
        self._register()
        self._publisher.start()
        self._leases.start()
        self._reaper.start()

    def take_hints(self) -> None:
        """Begin to work, on a thread."""
        threading.Thread(target=self._take, daemon=True).start()

    def _register(self) -> None:
        lacking = register(self._store, pid=self._number + 1, slots=self._slots)
        self._hints.publish(QUEUE, lacking)

    def _take(self) -> None:
        redis: Any = self._connection.open(None)
        while True:
            self._free.acquire()
            while redis.brpop([QUEUE], timeout=1) is None:
                pass
            self._threads.submit(self._executor.run_next, QUEUE).add_done_callback(self._ended)

    def _ended(self, done: Any) -> None:
        self._free.release()
        done.result()


class Fleet:
    """So many workers in a few processes; a context manager."""

    def __init__(self, url: str, workers: int, processes: int, shape: Shape) -> None:
        self._orders = []
        first = 0
        for count in shares(workers, processes):
            order = {
                "url": url, "first": first, "workers": count,
                "shape": {name: getattr(shape, name) for name in Shape.__slots__},
            }  # fmt: skip
            self._orders.append(order)
            first += count
        self._children: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Fleet":
        for order in self._orders:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scaling_fleet"],
                cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            self._children.append(child)
            _tell(child, json.dumps(order))
        for child in self._children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("a process of the fleet did not start")
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()

    def go(self) -> None:
        """Let them take hints."""
        for child in self._children:
            _tell(child, "go")

    def cpu_s(self) -> float:
        """CPU seconds of all processes."""
        times = [psutil.Process(child.pid).cpu_times() for child in self._children]
        return sum(each.user + each.system for each in times)


def _tell(child: "subprocess.Popen[str]", line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def measure(redis: Any, url: str, *, workers: int, processes: int, shape: Shape) -> Point:
    """Let so many workers work on jobs that all wait when they begin."""
    settings = settings_for(url, SLOTS=str(shape.slots))
    store, hints = JobStore.connect(settings), HintPublisher(settings)
    with Fleet(url, workers, processes, shape) as fleet:
        _submit(store, hints, shape.lengths(workers))
        fleet.go()
        time.sleep(shape.job_s + _LEAD_S)
        before, fleet_s = read(redis), fleet.cpu_s()
        seen = _watch(store, shape.waves * shape.job_s)
        spent, fleet_s = between(before, read(redis)), fleet.cpu_s() - fleet_s
        if store.queues()[0].pending == 0:
            raise RuntimeError(f"{workers} workers ran out of work")
    (first_s, first), (last_s, last) = seen[0], seen[-1]
    return Point(
        workers=workers, jobs=last - first, seconds=last_s - first_s, spent=spent,
        fleet_cpu_s=fleet_s,
    )  # fmt: skip


def _watch(store: JobStore, seconds: float) -> list[tuple[float, int]]:
    """When the number of completed jobs changed, and what it was then."""
    seen: list[tuple[float, int]] = []
    end_s = time.perf_counter() + seconds
    count = store.counters().get("jobs_completed", 0)
    while (now_s := time.perf_counter()) < end_s:
        completed = store.counters().get("jobs_completed", 0)
        if completed != count:
            count = completed
            seen.append((now_s, count))
        time.sleep(_LOOK_S)
    if len(seen) < 2:
        raise RuntimeError("the fleet does not work")
    return seen


def _submit(store: JobStore, hints: HintPublisher, lengths: Sequence[int]) -> None:
    make = {n: job_maker(n, hints.message, tokens=n) for n in set(lengths)}
    for start in range(0, len(lengths), SUBMITS_AT_ONCE):
        batch = [make[tokens]() for tokens in lengths[start : start + SUBMITS_AT_ONCE]]
        for outcome in store.submit_many(batch):
            if isinstance(outcome, MillraceError):
                raise outcome


def table(points: Sequence[Point], shape: Shape) -> list[str]:
    """Lines for people."""
    ideal = shape.slots / shape.job_s
    lines = [
        f"jobs of {shape.tokens} tokens in {shape.job_s:.1f} s, {shape.slots} slots a worker,"
        f" counted for {shape.waves * shape.job_s:.0f} s;"
        f" an engine alone would do {ideal:.2f} jobs/s",
        f"{'workers':>7} {'jobs':>6} {'jobs/s':>8} {'efficiency':>10} {'of ideal':>9}"
        f" {'Redis us/job':>12} {'Redis CPU':>9} {'fleet CPU':>9} {'scripts/job':>11}",
    ]
    for point in points:
        redis_share = point.spent.cpu_s / point.spent.seconds
        redis_us = redis_share * 1e6 / point.per_s
        lines.append(
            f"{point.workers:7} {point.jobs:6} {point.per_s:8.2f}"
            f" {100 * efficiency(point, points[0]):9.1f}%"
            f" {100 * point.per_s / (point.workers * ideal):8.1f}%"
            f" {redis_us:12.0f} {100 * redis_share:8.1f}%"
            f" {100 * point.fleet_cpu_s / point.spent.seconds:8.1f}%"
            f" {point.spent.scripts / point.spent.seconds / point.per_s:11.1f}"
        )
    return lines


def serve() -> None:
    """Be one process of a fleet."""
    order = json.loads(sys.stdin.readline())
    threading.stack_size(_STACK_BYTES)  # thousands of threads
    configure_logs("error", "console")
    shape = Shape(**order["shape"])
    settings = settings_for(order["url"], SLOTS=str(shape.slots))
    connection, hints = Connection(order["url"]), HintPublisher(settings)
    workers = [
        SimulatedWorker(connection, settings, hints, f"simulated-{number}", shape)
        for number in range(order["first"], order["first"] + order["workers"])
    ]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    if sys.stdin.readline():
        for worker in workers:
            worker.take_hints()
        sys.stdin.readline()


if __name__ == "__main__":
    serve()
