"""Celery with a Redis result backend, as a subject."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from celery.result import ResultSet

from benchmarks.queue_cost.celery_app import TASK, make_app
from benchmarks.queue_cost.figures import in_ms
from benchmarks.queue_cost.stack import tree_cpu_s
from benchmarks.queue_cost.subjects import SLOTS, Burst, Work, choose, each_timed, timed
from tests.support.redis_server import RedisServer
from tests.support.worker_process import ROOT

_PATIENCE_S = 120
_WARM_UP = 200
_COUNTS = {"prefork": (2, 4, SLOTS), "threads": (2, 8, SLOTS)}
"""How many processes or threads are tried for a handler that does nothing."""


class CeleryQueue:
    """One pool, acknowledging early or late.

    Args:
        chosen: the count of each pool that was fastest; the first turn finds it, on a quarter of
            the work.
    """

    missing = ""

    def __init__(self, pool: str, *, acks_late: bool, chosen: dict[str, int]) -> None:
        self._pool = pool
        self._acks_late = acks_late
        self._chosen = chosen

    def turn(self, folder: Path, work: Work) -> Mapping[str, Mapping[str, float]]:
        """A burst with the best count, single jobs; then handlers that sleep, SLOTS at a time."""
        if self._pool not in self._chosen:
            self._chosen[self._pool] = choose(
                _COUNTS[self._pool], lambda count: self._trial(folder, work, count)
            )
        count = self._chosen[self._pool]
        with self._running(folder / "no-op", work, count) as peer:
            found = peer.timed(work.jobs, 0.0).figures("no-op")
            single = each_timed(work.singles, peer.one)
            found["result p50"] = in_ms(single, 0.5)
        with self._running(folder / "50-ms", work, SLOTS) as peer:
            sleeping = peer.timed(work.jobs, 0.05)
            found = {**sleeping.figures("50 ms"), **found, "count": count}
        acks = "late" if self._acks_late else "early"
        return {f"Celery, {self._pool}, acks {acks}": found}

    def _trial(self, folder: Path, work: Work, count: int) -> float:
        with self._running(folder / f"trial-{count}", work, count) as peer:
            return peer.timed(work.jobs // 4, 0.0).per_s

    def _running(self, folder: Path, work: Work, count: int) -> "_Running":
        return _Running(folder, work.fsync, pool=self._pool, count=count, acks_late=self._acks_late)


class _Running:
    """Redis, a worker, and this process as the client."""

    def __init__(self, folder: Path, fsync: str, *, pool: str, count: int, acks_late: bool) -> None:
        self._redis = RedisServer(folder / "redis", fsync)
        self._log = folder / "celery.log"
        self._environment = {
            **os.environ,
            "PEER_REDIS_URL": self._redis.url,
            "PEER_ACKS_LATE": "1" if acks_late else "0",
        }
        self._command = [
            sys.executable, "-m", "celery", "-A", "benchmarks.queue_cost.celery_app", "worker",
            "--pool", pool, "--concurrency", str(count),
        ]  # fmt: skip
        self._app = make_app(self._redis.url, acks_late=acks_late)
        self._task: Any = self._app.tasks[TASK]

    def __enter__(self) -> "_Running":
        self._redis.start()
        with self._log.open("ab") as log:
            self._worker = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        self.burst(_WARM_UP, 0.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._app.close()
        self._worker.terminate()
        try:
            self._worker.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        self._redis.kill()

    def timed(self, jobs: int, seconds: float) -> Burst:
        """A burst with what it took."""
        return timed(jobs, partial(self.burst, jobs, seconds), self._cpu_s)

    def burst(self, jobs: int, seconds: float) -> Sequence[float]:
        """Ask for all at once, then wait for every result; the seconds of each submit."""
        taken_s, results = [], []
        for number in range(jobs):
            started_s = time.perf_counter()
            results.append(self._task.delay(number, seconds))
            taken_s.append(time.perf_counter() - started_s)
        found: Any = ResultSet(results, app=self._app).join_native(timeout=_PATIENCE_S)
        if list(found) != list(range(jobs)):
            raise RuntimeError("Celery gave other results")
        return taken_s

    def one(self, number: int) -> None:
        """One job, to its result."""
        if self._task.delay(number, 0.0).get(timeout=_PATIENCE_S) != number:
            raise RuntimeError("Celery gave another result")

    def _cpu_s(self) -> dict[str, float]:
        return {"worker": tree_cpu_s(self._worker.pid), "redis": tree_cpu_s(self._redis.pid)}
