"""Every transition of the store, for hypothesis to try in random order."""

import uuid
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from contract import keys
from contract.errors import EngineError, NotDeadError, PromptTooLongError
from contract.job import Claim, JobState
from contract.settings import Settings
from contract.store import AttemptStore, ClaimBlocked, Connection, JobStore, ReapStore
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer

QUEUES = (QUEUE, "other.0123456789ab")
WORKERS = ("w1", "w2", "w3")
ANY = st.integers(0, 10_000)


class Transitions(RuleBasedStateMachine):
    """Producers, workers and a reaper that do whatever they like."""

    def __init__(self, redis: RedisServer, settings: Settings) -> None:
        super().__init__()
        redis.empty()
        self.settings = replace(settings, slots=4, max_attempts=2)
        self.connection = Connection(settings.redis_url)
        self.redis: Any = self.connection.redis
        self.store = JobStore(self.connection, self.settings)
        self.reaper = ReapStore(self.connection, replace(self.settings, lease_s=0.5))
        self.workers = {n: AttemptStore(self.connection, self.settings, n) for n in WORKERS}
        self.claims: list[tuple[str, Claim]] = []
        self.jobs: list[str] = []
        self.gone: set[str] = set()
        self.seen: dict[str, tuple[JobState, int]] = {}
        self.redriven: Counter[str] = Counter()
        for name in WORKERS:
            self._register(name)

    # What producers do.

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(0, 9),
        fingerprint=st.sampled_from([None, "a", "a", "b"]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        deadline_s=st.sampled_from([None, 600.0]),
        twice=st.booleans(),
    )
    def submit(
        self,
        queue: str,
        priority: int,
        fingerprint: str | None,
        key: str | None,
        deadline_s: float | None,
        twice: bool,
    ) -> None:
        new = new_job(
            queue=queue,
            priority=priority,
            fingerprint=fingerprint,
            deadline_s=deadline_s,
            idempotency_key=key if not self.gone else None,
        )
        submission = self.store.submit(new)
        if twice:
            assert self.store.submit(new).job.id == submission.job.id
        assert submission.replayed == (submission.job.id in self.jobs)
        if not submission.replayed:
            self.jobs.append(submission.job.id)

    @precondition(lambda self: self.jobs)
    @rule(n=ANY)
    def cancel(self, n: int) -> None:
        job = self.jobs[n % len(self.jobs)]
        before = self.store.get(job)
        after, _ = self.store.cancel(job)
        assert after.state is (before.state if before.finished else JobState.CANCELLED)

    @precondition(lambda self: self.jobs)
    @rule(n=ANY)
    def redrive(self, n: int) -> None:
        dead = [job.id for job in self.store.dead_letters(limit=100, after=None).items]
        job = (dead or self.jobs)[n % len(dead or self.jobs)]
        try:
            assert self.store.redrive(job).state is JobState.QUEUED
            self.redriven[job] += 1
        except NotDeadError:
            assert job not in dead

    # What workers do, also with claims that they no longer hold.

    @rule(worker=st.sampled_from(WORKERS), queues=st.sampled_from([QUEUES, QUEUES[:1]]))
    def claim(self, worker: str, queues: tuple[str, ...]) -> None:
        self._claim(worker, queues)

    def _claim(self, worker: str, queues: tuple[str, ...]) -> bool:
        nonce = uuid.uuid4().hex
        try:
            claim = self.workers[worker].claim(queues, nonce)
            if claim is None:
                return False
            assert self.workers[worker].claim(queues, nonce) == claim
        except ClaimBlocked:
            return False
        self.claims.append((worker, claim))
        return True

    @rule(worker=st.sampled_from(WORKERS))
    def beat(self, worker: str) -> None:
        held = [(c.job_id, c.attempt) for w, c in self.claims if w == worker]
        known, lost = self.workers[worker].beat(state="ready", queues=QUEUES, held=held)
        if not known:
            self._register(worker)
        for job, attempt in held:
            assert (job in lost) or self._holds(job, attempt)

    @precondition(lambda self: self.claims)
    @rule(n=ANY, twice=st.booleans())
    def publish(self, n: int, twice: bool) -> None:
        worker, claim = self.claims[n % len(self.claims)]
        data = {"text": "word ", "offset": n, "completion_tokens": 1}
        before = self._tokens(claim.job_id)
        event = (claim.job_id, claim.attempt, "token", data, 1)
        current = self._holds(claim.job_id, claim.attempt)
        for _ in range(1 + twice):
            assert self.workers[worker].publish([event]) == (set() if current else {claim.job_id})
        assert self._tokens(claim.job_id) - before <= current

    @precondition(lambda self: self.claims)
    @rule(n=ANY, twice=st.booleans())
    def finish(self, n: int, twice: bool) -> None:
        worker, claim = self.claims[n % len(self.claims)]
        current = self._holds(claim.job_id, claim.attempt)
        again = (JobState.COMPLETED, claim.attempt) == self.seen.get(claim.job_id)
        for _ in range(1 + twice):
            stored = self.workers[worker].finish(claim, {"text": "done"}, {})
            assert stored == (current or again)

    @precondition(lambda self: self.claims)
    @rule(n=ANY, queues=st.sampled_from([QUEUES, QUEUES[:1]]), twice=st.booleans())
    def finish_and_claim(self, n: int, queues: tuple[str, ...], twice: bool) -> None:
        worker, claim = self.claims[n % len(self.claims)]
        current = self._holds(claim.job_id, claim.attempt)
        again = (JobState.COMPLETED, claim.attempt) == self.seen.get(claim.job_id)
        before, nonce = self._tokens(claim.job_id), uuid.uuid4().hex
        text = {"text": "end", "offset": n, "completion_tokens": 2}
        ended = [
            self.workers[worker].finish_and_claim(
                claim,
                {"text": "done"},
                {},
                last=(claim.job_id, claim.attempt, "token", text, 2),
                queues=queues,
                nonce=nonce,
            )
            for _ in range(1 + twice)
        ]
        assert ended[0].stored == (current or again)
        assert ended[0] == ended[-1]
        assert self._tokens(claim.job_id) - before == current
        if ended[0].following is not None:
            self.claims.append((worker, ended[0].following))

    @precondition(lambda self: self.claims)
    @rule(n=ANY, retryable=st.booleans(), twice=st.booleans())
    def fail(self, n: int, retryable: bool, twice: bool) -> None:
        worker, claim = self.claims[n % len(self.claims)]
        current = self._holds(claim.job_id, claim.attempt)
        error = EngineError("stumbled") if retryable else PromptTooLongError("too long")
        outcome = self.workers[worker].fail(claim, error)
        assert current == (outcome in {"retrying", "dead"} or (outcome == "failed" and current))
        if twice:
            assert self.workers[worker].fail(claim, error) in {"fenced", "failed"}

    @precondition(lambda self: self.claims)
    @rule(n=ANY, twice=st.booleans())
    def release(self, n: int, twice: bool) -> None:
        worker, claim = self.claims[n % len(self.claims)]
        current = self._holds(claim.job_id, claim.attempt)
        assert self.workers[worker].release(claim) == current
        if twice:
            assert not self.workers[worker].release(claim)

    # What time does; the reaper notices.

    @rule()
    def reap(self) -> None:
        now = self._now_ms()
        self.redis.delete(keys.REAPED(), keys.MISSING())
        for name in self.redis.zrange(keys.WORKERS(), 0, -1):
            self.redis.zadd(keys.WORKERS(), {name: now}, gt=True)
        self.reaper.reap()

    @rule(worker=st.sampled_from(WORKERS))
    def lose_worker(self, worker: str) -> None:
        self.redis.delete(keys.REAPED())
        self.redis.zadd(keys.WORKERS(), {worker: self._now_ms() - 1000}, xx=True)
        self.redis.hset(keys.MISSING(), worker, str(self._now_ms() - 1000))
        for other in WORKERS:
            if other != worker:
                self.redis.hdel(keys.MISSING(), other)
        self.reaper.reap()
        self._register(worker)

    @rule(which=st.sampled_from([keys.LEASES(), keys.DEADLINES()]), n=ANY)
    def run_out(self, which: str, n: int) -> None:
        self._come_due(which, n)

    @rule(queue=st.sampled_from(QUEUES), n=ANY)
    def end_backoff(self, queue: str, n: int) -> None:
        self._come_due(keys.RETRYING(queue), n)

    @rule(n=ANY)
    def outlive_retention(self, n: int) -> None:
        job = self._come_due(keys.EXPIRING(), n)
        if job:
            self.gone.add(job)
            self.jobs.remove(job)
            self.seen.pop(job)
            assert not self.redis.exists(
                keys.JOB(job), keys.INPUT(job), keys.EVENTS(job), keys.FOLLOWERS(job)
            )  # fmt: skip

    def _come_due(self, which: str, n: int) -> str | None:
        members: list[str] = self.redis.zrange(which, 0, -1)
        if not members:
            return None
        job = members[n % len(members)]
        self.redis.zadd(which, {job: 1})
        self.reap()
        return job

    def _release_all(self, name: str) -> None:
        for worker, claim in self.claims:
            if worker == name:
                self.workers[worker].release(claim)

    def _register(self, name: str) -> None:
        self.workers[name].register(
            queues={q: {"model": "tiny", "version": 1, "digest": "0"} for q in QUEUES},
            host="here", pid=1, device="cpu", models=[], slots=4, state="ready",
        )  # fmt: skip

    def _holds(self, job: str, attempt: int) -> bool:
        found = self.redis.hmget(keys.JOB(job), "state", "attempt")
        return bool(found == [JobState.IN_PROGRESS, str(attempt)])

    def _tokens(self, job: str) -> int:
        return sum(e.kind == "token" for e in self.store.read_events({job: "0-0"})[job])

    def _now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000
