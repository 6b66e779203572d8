"""What each call of a job's life costs Redis: its CPU time, and the commands in the script."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.scaling_jobs import QUEUE, job_maker, register, settings_for
from benchmarks.scaling_redis import between, read
from contract.job import Claim
from contract.queues import HintPublisher
from contract.store import SUBMITS_AT_ONCE, AttemptStore, Connection, JobStore, ReapStore

_JOBS = 512
_TOKENS = 8
BARE, PIPELINED = "a bare write", "a bare write among many"
_OUTPUT = {"text": "word " * 40, "finish_reason": "stop"}
_USAGE = {
    "prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140, "cached_tokens": 0
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one unit, such as one job, or one token of one job."""

    name: str
    unit: str
    redis_us: float
    commands: float
    calls: float


class Bench:
    """A store with workers that are only names, whose steps are taken by hand."""

    def __init__(self, redis: Any, url: str, *, workers: int, slots: int) -> None:
        self._redis = redis
        self._settings = settings_for(url, SLOTS=str(slots))
        self._slots = slots
        self._connection = Connection(url)
        self._store = JobStore(self._connection, self._settings)
        self._hints = HintPublisher(self._settings)
        names = [f"worker-{number}" for number in range(workers)]
        self._workers = [AttemptStore(self._connection, self._settings, name) for name in names]
        self._presences = [worker.presence() for worker in self._workers]
        self._hint = ""
        self.costs: list[Cost] = []

    def close(self) -> None:
        """End the connections."""
        for presence in self._presences:
            presence.close()
        self._connection.redis.close()

    def _cost(self, name: str, unit: str, units: int, work: Callable[[], int]) -> None:
        """Do some work; it returns how many calls it made."""
        before = read(self._redis)
        calls = work()
        spent = between(before, read(self._redis))
        cost = Cost(
            name=name, unit=unit, redis_us=spent.cpu_s * 1e6 / units,
            commands=spent.others / units, calls=calls / units,
        )  # fmt: skip
        self.costs.append(cost)

    def run(self) -> list[Cost]:
        """All calls, in the order of a job's life."""
        make, everyone = job_maker(1, self._hints.message), len(self._workers)
        self._enter(1)
        self._cost("submit, 1 worker", "job", _JOBS, lambda: self._submit(make))
        self._enter(everyone)
        self._cost(f"submit, {everyone} workers", "job", _JOBS, lambda: self._submit(make))
        self._cost("submit in bulk", "job", _JOBS, lambda: self._submit_many(make))
        ids = [job.id for job in self._store.list_jobs(
            state=None, model=None, limit=100, after=None).items]  # fmt: skip
        self._cost("read a waiting job", "read", len(ids), lambda: self._get(ids))
        self._cost(BARE, "write", _JOBS, self._write)
        self._cost(PIPELINED, "write", _JOBS, self._write_at_once)
        self._hint = self._hints.message(QUEUE)
        self._cost("send a hint alone", "hint", _JOBS, self._send)
        self._cost("take a hint", "hint", _JOBS, self._take)
        self._beat(self._workers, {})
        held = self._claim_all()
        self._cost(
            "publish a token", "token", _JOBS * _TOKENS, lambda: self._publish(held, _TOKENS)
        )
        busy = list(held)
        self._cost("beat", "worker", len(busy), lambda: self._beat(busy, held))
        self._cost("finish and claim", "job", _JOBS, lambda: self._go_on(held))
        self._cost("finish", "job", _JOBS, lambda: self._finish(held))
        self._cost("reaper's look", "look", 20, self._look)
        self._turns()
        return self.costs

    def _enter(self, workers: int) -> None:
        for number, worker in enumerate(self._workers[:workers]):
            self._presences[number].poll(0.01)
            register(worker, pid=number + 1, slots=self._slots)

    def _submit(self, make: Callable[[], Any]) -> int:
        for _ in range(_JOBS):
            self._store.submit(make())
        return _JOBS

    def _submit_many(self, make: Callable[[], Any]) -> int:
        calls = 0
        for start in range(0, _JOBS, SUBMITS_AT_ONCE):
            self._store.submit_many([make() for _ in range(min(SUBMITS_AT_ONCE, _JOBS - start))])
            calls += 1
        return calls

    def _get(self, ids: Sequence[str]) -> int:
        for job_id in ids:
            self._store.get(job_id)
        return len(ids)

    def _write(self) -> int:
        for number in range(_JOBS):
            self._redis.set("bare", number)
        return _JOBS

    def _write_at_once(self) -> int:
        with self._redis.pipeline(transaction=False) as pipeline:
            for number in range(_JOBS):
                pipeline.set("bare", number)
            pipeline.execute()
        return 1

    def _send(self) -> int:
        for _ in range(_JOBS):
            self._redis.lpush(QUEUE, self._hint)
        return _JOBS

    def _take(self) -> int:
        for _ in range(_JOBS):
            self._redis.brpop([QUEUE], timeout=1)
        return _JOBS

    def _claim_all(self) -> dict[AttemptStore, list[Claim]]:
        held: dict[AttemptStore, list[Claim]] = {}

        def claim() -> int:
            for worker in self._workers[: _JOBS // self._slots]:
                held[worker] = []
                for _ in range(self._slots):
                    found = worker.claim([QUEUE], uuid.uuid4().hex)
                    if found is None:
                        raise RuntimeError("no job waits")
                    held[worker].append(found)
            return _JOBS

        self._cost("claim", "job", _JOBS, claim)
        return held

    def _publish(self, held: dict[AttemptStore, list[Claim]], tokens: int) -> int:
        for token in range(1, tokens + 1):
            data = {"text": "word ", "offset": 5 * token, "completion_tokens": token}
            for worker, claims in held.items():
                worker.publish([(c.job_id, c.attempt, "token", data, token) for c in claims])
        return tokens * len(held)

    def _beat(self, workers: Sequence[AttemptStore], held: dict[AttemptStore, list[Claim]]) -> int:
        for worker in workers:
            pairs = [(claim.job_id, claim.attempt) for claim in held.get(worker, [])]
            worker.beat(state="ready", queues=[QUEUE], held=pairs)
        return len(workers)

    def _go_on(self, held: dict[AttemptStore, list[Claim]]) -> int:
        for worker, claims in held.items():
            for number, claim in enumerate(claims):
                data = {"text": "word ", "offset": 5 * _TOKENS, "completion_tokens": _TOKENS + 1}
                done = worker.finish_and_claim(
                    claim, _OUTPUT, _USAGE,
                    last=(claim.job_id, claim.attempt, "token", data, _TOKENS + 1),
                    queues=[QUEUE], nonce=uuid.uuid4().hex,
                )  # fmt: skip
                if not done.stored or done.following is None:
                    raise RuntimeError(f"a claim was lost, or no job waits: {done}")
                claims[number] = done.following
        return _JOBS

    def _finish(self, held: dict[AttemptStore, list[Claim]]) -> int:
        for worker, claims in held.items():
            for claim in claims:
                if not worker.finish(claim, _OUTPUT, _USAGE):
                    raise RuntimeError("a claim was lost")
        return _JOBS

    def _look(self) -> int:
        """Looks in a row: all but the first find that another one was there."""
        reaper = ReapStore(self._connection, self._settings)
        for _ in range(20):
            reaper.reap()
        return 20

    def _turns(self) -> None:
        """What one turn of a reaper takes when it is the one that does the work."""
        reaper = ReapStore(self._connection, self._settings)
        cpu_s, commands, turns = 0.0, 0, 10
        for _ in range(turns):
            time.sleep(0.45)
            self._beat(self._workers, {})
            before = read(self._redis)
            reaper.reap()
            spent = between(before, read(self._redis))
            cpu_s, commands = cpu_s + spent.cpu_s, commands + spent.others
        self.costs.append(
            Cost(
                name="reaper's turn", unit="turn", redis_us=cpu_s * 1e6 / turns,
                commands=commands / turns, calls=1,
            )
        )  # fmt: skip


def table(costs: Sequence[Cost]) -> list[str]:
    """Lines for people."""
    turn = turn_us(costs)
    lines = [f"{'call':24} {'alone, us':>9} {'busy, us':>9} {'commands':>9} {'calls':>7}   each"]
    lines += [
        f"{c.name:24} {c.redis_us:9.1f} {c.redis_us - turn * c.calls:9.1f} {c.commands:9.1f}"
        f" {c.calls:7.2f}   {c.unit}"
        for c in costs
    ]
    return lines


def turn_us(costs: Sequence[Cost]) -> float:
    """Microseconds of a turn of Redis's loop: the socket, the file, its sync. Not of a command.

    A call that comes alone pays for one; a busy Redis does all that came meanwhile in one.
    """
    by_name = {cost.name: cost.redis_us for cost in costs}
    return by_name[BARE] - by_name[PIPELINED]


def of_a_job(
    costs: Sequence[Cost], *, tokens: int, seconds: float, slots: int, beat_s: float = 0.5
) -> float:
    """Microseconds of a busy Redis for one job that streams ``tokens`` for ``seconds``.

    Its worker has ``slots`` of them at a time, which share a beat, and is never without work: it
    claims a job when one ends. One that was idle takes a hint for it.
    """
    turn = turn_us(costs)
    by_name = {cost.name.split(",")[0]: cost.redis_us - turn * cost.calls for cost in costs}
    once = ("submit", "finish and claim")
    beats = seconds / beat_s / slots
    return (
        sum(by_name[name] for name in once)
        + tokens * by_name["publish a token"]
        + beats * by_name["beat"]
    )
