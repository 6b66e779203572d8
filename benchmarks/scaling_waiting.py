"""How a Redis with a million waiting jobs answers, beside one with none."""

import os
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from benchmarks.queue_cost.figures import percentile
from benchmarks.scaling_jobs import PROMPT_BYTES, Model, job_maker, register, settings_for
from benchmarks.scaling_redis import read
from contract import keys
from contract.errors import MillraceError
from contract.job import Claim
from contract.queues import HintPublisher
from contract.store import SUBMITS_AT_ONCE, AttemptStore, JobStore, ReapStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.fronts import FrontServer
from tests.support.redis_server import RedisServer

_BLOCKS = 9
_CALLS = {"submit": 500, "submit over HTTP": 200, "claim": 100, "finish": 100, "reaper's turn": 5}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cached_tokens": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How the waiting jobs were made, and what they take."""

    waiting: int
    seconds: float
    bytes_each: float
    hints: int
    redis_cpu_s: float

    @property
    def beyond_the_prompt(self) -> float:
        """Bytes of Redis for each job but for its prompt."""
        return self.bytes_each - PROMPT_BYTES


class Site:
    """One Redis with a front, and one registered worker whose calls are made here."""

    def __init__(self, folder: Path, fsync: str) -> None:
        self.server = RedisServer(folder / "redis", fsync)
        self.settings = settings_for(self.server.url, DATA_DIR=str(folder))
        self.store = JobStore.connect(self.settings)
        models = ModelStore(folder / "models")
        write_tiny_llama(models)
        tiny = models.resolve("tiny")
        self._model = Model(name=tiny.name, digest=tiny.digest)
        environment = {
            "MILLRACE_REDIS_URL": self.server.url,
            "MILLRACE_DATA_DIR": str(folder),
            "MILLRACE_MAX_BACKLOG": "10000000",
        }
        self.front = FrontServer(environment, folder / "front.log")
        self.worker = AttemptStore(self.store.connection, self.settings, "waiting-1")
        self.make = job_maker(1, HintPublisher(self.settings).message, model=self._model)
        self._claims: list[Claim] = []
        self._opened = False

    def __enter__(self) -> "Site":
        self.server.start()
        self.redis: Any = self.server.client()
        self.store.is_the_known_one()
        return self

    def open(self) -> None:
        """Start what calls."""
        self._opened = True
        self.front.start()
        self.http = self.front.client()
        self._presence = self.worker.presence()
        self._presence.poll(0.1)
        register(self.worker, pid=1, slots=1000, model=self._model)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened:
            self.front.kill()
        self.server.kill()

    def fill(self, jobs: int, most_s: float) -> Backlog:
        """Submit so many, as a bulk submit does, or as many as can be done in the time."""
        before, started_s, count = read(self.redis), time.monotonic(), 0
        while count < jobs and time.monotonic() - started_s < most_s:
            size = min(SUBMITS_AT_ONCE, jobs - count)
            for outcome in self.store.submit_many([self.make() for _ in range(size)]):
                if isinstance(outcome, MillraceError):
                    raise outcome
            count += size
        seconds = time.monotonic() - started_s
        self._let_the_file_be_rewritten()
        os.sync()  # what waits for the disk would delay what is measured
        after = read(self.redis)
        return Backlog(
            waiting=count,
            seconds=seconds,
            bytes_each=(after.used_bytes - before.used_bytes) / max(count, 1),
            hints=self.redis.llen(self._model.queue),
            redis_cpu_s=after.cpu_s - before.cpu_s,
        )

    def _let_the_file_be_rewritten(self) -> None:
        due_s = time.monotonic() + 120
        while time.monotonic() < due_s:
            about = self.redis.info("persistence")
            if not about["aof_rewrite_in_progress"] and not about["aof_rewrite_scheduled"]:
                return
            time.sleep(0.2)

    def calls(self) -> Mapping[str, Callable[[], Any]]:
        """Each call by its name; in this order each finds what the one before has left."""
        return {
            "submit": lambda: self.store.submit(self.make()),
            "submit over HTTP": self._submit_over_http,
            "claim": self._claim,
            "finish": self._finish,
            "reaper's turn": self._reap,
        }

    def beat(self) -> None:
        """Keep what is claimed."""
        held = [(claim.job_id, claim.attempt) for claim in self._claims]
        self.worker.beat(state="ready", queues=[self._model.queue], held=held)

    def _submit_over_http(self) -> None:
        body = {"model": "tiny", "input": uuid.uuid4().hex + " " * 10 + "x" * 400}
        answer: httpx.Response = self.http.post("/api/v1/jobs", json=body)
        answer.raise_for_status()

    def _claim(self) -> None:
        claim = self.worker.claim([self._model.queue], uuid.uuid4().hex)
        if claim is None:
            raise RuntimeError("no job waits")
        self._claims.append(claim)

    def _reap(self) -> None:
        self.redis.hdel(keys.REAPED(), "at")  # or another one's turn would do
        ReapStore(self.store.connection, self.settings).reap()

    def _finish(self) -> None:
        self.worker.finish(self._claims.pop(), {"text": "done", "finish_reason": "stop"}, _USAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one call, in ms: medians over the blocks of calls, empty and full by turns."""

    call: str
    empty_p50: float
    full_p50: float
    empty_p99: float
    full_p99: float

    @property
    def ratio_p99(self) -> float:
        """Full to empty."""
        return self.full_p99 / self.empty_p99


def compare(empty: Site, full: Site) -> list[Latency]:
    """Every call on both, in blocks that take turns."""
    taken: dict[tuple[str, int], list[list[float]]] = {}
    for block in range(_BLOCKS):
        sites = ((0, empty), (1, full))
        for which, site in sites if block % 2 else reversed(sites):
            site.beat()
            for name, call in site.calls().items():
                times = [_timed_ms(call) for _ in range(_CALLS[name])]
                taken.setdefault((name, which), []).append(times)
    return [
        Latency(
            call=name,
            empty_p50=_typical(taken[name, 0], 0.5), full_p50=_typical(taken[name, 1], 0.5),
            empty_p99=_typical(taken[name, 0], 0.99), full_p99=_typical(taken[name, 1], 0.99),
        )
        for name in _CALLS
    ]  # fmt: skip


def _timed_ms(call: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started_s)


def _typical(blocks: Sequence[Sequence[float]], share: float) -> float:
    """The median over the blocks: a moment in which the machine did something else counts once."""
    return statistics.median(percentile(block, share) for block in blocks)


def table(backlog: Backlog, latencies: Sequence[Latency]) -> list[str]:
    """Lines for people."""
    lines = [
        f"{backlog.waiting} jobs of {PROMPT_BYTES} bytes submitted in {backlog.seconds:.0f} s:"
        f" {backlog.waiting / backlog.seconds:.0f}/s, Redis busy"
        f" {100 * backlog.redis_cpu_s / backlog.seconds:.0f} %",
        f"memory of each: {backlog.bytes_each:.0f} bytes, {backlog.beyond_the_prompt:.0f} beyond"
        f" its prompt; {backlog.hints} hints",
        f"{'ms':18} {'p50, 0':>8} {'p50, full':>9} {'p99, 0':>8} {'p99, full':>9} {'ratio':>6}",
    ]
    lines += [
        f"{each.call:18} {each.empty_p50:8.2f} {each.full_p50:9.2f} {each.empty_p99:8.2f}"
        f" {each.full_p99:9.2f} {each.ratio_p99:6.2f}"
        for each in latencies
    ]
    return lines
