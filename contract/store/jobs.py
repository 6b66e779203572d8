"""The store as a producer sees it: submit, read, cancel, redrive."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from contract import keys
from contract.errors import (
    JobGoneError,
    MillraceError,
    NotDeadError,
    UnknownJobError,
)
from contract.job import (
    Event,
    Job,
    JobState,
    NewJob,
    Page,
    QueueRecord,
    Submission,
    WorkerRecord,
)
from contract.settings import Settings
from contract.store import rows, submits
from contract.store.channels import WakeUps
from contract.store.connection import Connection, translated

#: Entries of one stream that are read in one go.
EVENTS_AT_ONCE = 1000


class JobStore:
    """Jobs, by the operations of SUBMIT, VIEW, CANCEL and REDRIVE, and the lists.

    Every method raises StoreUnavailableError when Redis does not answer.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection = connection
        self._settings = settings
        self._lease_ms = int(settings.lease_s * 1000)
        self._ttl_ms = int(settings.result_ttl_s * 1000)

    @classmethod
    def connect(cls, settings: Settings) -> "JobStore":
        """A store on a connection pool of its own; connects on first use."""
        return cls(Connection(settings.redis_url), settings)

    def ping(self) -> None:
        """Ask Redis whether it lives."""
        with translated():
            self.connection.redis.ping()

    def is_the_known_one(self) -> bool:
        """Whether Redis is the store that this process knows; False when its jobs are gone."""
        return self.connection.identity.look()

    @property
    def refuses(self) -> bool:
        """Whether Redis, when last looked at, answered but took no write: no memory, no disk."""
        return bool(self.connection.identity.refusal)

    def submit(self, new: NewJob) -> Submission:
        """Record a job. When this returns, the job is accepted.

        Raises:
            IdempotencyConflictError: the key was used with another body.
            StoreReplacedError: Redis is not the store that this process knows.
            QueueFullError: the model's backlog is at its limit.
            NoWorkerError: MILLRACE_REQUIRE_WORKER is on and no worker serves the model.
            NotReplicatedError: too few replicas have the job.
        """
        s = self._settings
        identity = self.connection.identity
        known = identity.known()
        arguments = submits.arguments(new, s, known.id, with_output=True)
        answer = self._promise("submit", *arguments)
        return submits.outcome(answer, new, s, identity, known)

    def submit_many(self, news: Sequence[NewJob]) -> list[Submission | MillraceError]:
        """Record jobs, ``SUBMITS_AT_ONCE`` in one round trip, each as :meth:`submit` does.

        The jobs are without their output. When Redis fails on one, those of later round trips
        are not tried, since it would keep the caller waiting for each.

        Returns:
            In the same order what became of each: recorded, or the error that submit raises.
        """
        return submits.submit_many(self.connection, self._settings, news)

    def _promise(self, script: str, *arguments: Any) -> Any:
        """Call SUBMIT or CANCEL, and wait for as many replicas as MILLRACE_MIN_REPLICAS asks."""
        wanted = self._settings.min_replicas
        if wanted == 0:
            return self.connection.run(script, *arguments)
        answer, reached = self.connection.run_replicated(
            script, *arguments, replicas=wanted, timeout_s=submits.REPLICAS_TIMEOUT_S
        )
        refused = isinstance(answer, list) and answer[0] not in ("recorded", "replayed")
        if reached < wanted and not refused and answer is not None:
            raise submits.too_few(reached, wanted)
        return answer

    def get(self, job_id: str) -> Job:
        """One job. Raises UnknownJobError, JobGoneError, StoreReplacedError."""
        try:
            return rows.job(job_id, self._view([job_id], with_output=True)[0])
        except UnknownJobError:
            self.connection.identity.require()  # a store that lost its jobs must not deny them
            raise

    def get_many(self, job_ids: Sequence[str]) -> list[Job | MillraceError]:
        """Many jobs by one call; for one that is not there, the error that :meth:`get` raises."""
        found: list[Job | MillraceError] = []
        for job_id, row in zip(job_ids, self._view(job_ids, with_output=True), strict=True):
            try:
                found.append(rows.job(job_id, row))
            except (UnknownJobError, JobGoneError) as error:
                found.append(error)
        if any(isinstance(each, UnknownJobError) for each in found):
            self.connection.identity.require()
        return found

    def _view(self, job_ids: Sequence[str], *, with_output: bool) -> list[Any]:
        found: list[Any] = self.connection.run("view", self._lease_ms, int(with_output), *job_ids)
        return found

    def list_jobs(
        self, *, state: JobState | None, model: str | None, limit: int, after: str | None
    ) -> Page[Job]:
        """Jobs, newest first, from behind the job ``after``.

        Raises:
            UnknownJobError: ``after`` is not in the list.
        """
        index = keys.INDEX() if state is None else keys.STATE(state)
        return self._page(index, model, limit, after)

    def dead_letters(self, *, limit: int, after: str | None) -> Page[Job]:
        """Dead letters, newest submission first."""
        return self._page(keys.DEAD(), None, limit, after)

    def _page(self, index: str, model: str | None, limit: int, after: str | None) -> Page[Job]:
        redis = self.connection.redis
        top: Any = "+inf"
        if after is not None:
            with translated():
                place = redis.zscore(keys.INDEX(), after)
            if place is None:
                self.connection.identity.require()
                raise UnknownJobError(f"no job has the id {after!r}, given as 'after'")
            top = f"({place:.0f}"
        found: list[Job] = []
        while len(found) <= limit:
            with translated():
                ids: list[Any] = redis.zrevrangebyscore(
                    index, top, "-inf", start=0, num=100, withscores=True
                )
            if not ids:
                break
            top = f"({ids[-1][1]:.0f}"
            names = [name for name, _ in ids]
            for name, row in zip(names, self._view(names, with_output=False), strict=True):
                if isinstance(row, list):
                    job = rows.job(name, row)
                    if model is None or job.model == model:
                        found.append(job)
        return Page(items=found[:limit], has_more=len(found) > limit)

    def cancel(self, job_id: str) -> tuple[Job, str | None]:
        """Cancel unless it has ended; returns the job as it is now, and a queue to hint, if any.

        Raises:
            UnknownJobError, JobGoneError
            NotReplicatedError: it is cancelled, but too few replicas know.
        """
        queue = self._promise("cancel", job_id, self._ttl_ms)
        return self.get(job_id), queue or None

    def forget(self, job_ids: Sequence[str]) -> None:
        """Let the retention of ended jobs pass now: their results are kept elsewhere."""
        self.connection.run("forget", *job_ids)

    def redrive(self, job_id: str) -> Job:
        """Let a dead letter wait again. Raises NotDeadError, UnknownJobError, JobGoneError."""
        redriven = self.connection.run("redrive", job_id, uuid.uuid4().hex)
        job = self.get(job_id)
        if redriven != 1:
            raise NotDeadError(f"job {job_id!r} is {job.state}, not a dead letter")
        return job

    def read_events(self, wanted: Mapping[str, str]) -> dict[str, list[Event]]:
        """Entries behind the given stream ids ("0-0": all) in one round trip.

        There are at most ``EVENTS_AT_ONCE`` of a job.

        A job that waits has no stream yet, and one that was answered from the cache never has. So
        the first event, and for such a job the last, are made from its record.
        """
        with translated():
            pipeline = self.connection.redis.pipeline(transaction=False)
            for job_id, last in wanted.items():
                if rows.is_early(last):  # before its stream, which then has all that it tells of
                    pipeline.hmget(keys.JOB(job_id), rows.EARLY_FIELDS)
                pipeline.xrange(keys.EVENTS(job_id), min=f"({last}", count=EVENTS_AT_ONCE)
            answers = iter(pipeline.execute())
        found = {}
        for job_id, last in wanted.items():
            record = next(answers) if rows.is_early(last) else None
            entries = [rows.event(stream_id, fields) for stream_id, fields in next(answers)]
            found[job_id] = rows.early_events(last, record, entries) if record else entries
        return found

    def subscribe(self) -> WakeUps:
        """The ids of jobs whose streams grow, as they grow."""
        return WakeUps(self.connection)

    def workers(self) -> list[WorkerRecord]:
        """Live workers, the longest known first."""
        with translated():
            ids = [str(i) for i in self.connection.redis.zrange(keys.WORKERS(), 0, -1)]
            pipeline = self.connection.redis.pipeline(transaction=False)
            for worker_id in ids:
                pipeline.hgetall(keys.WORKER(worker_id))
                pipeline.scard(keys.RUNNING(worker_id))
            answers = rows.pairs(pipeline.execute())
        found = [
            rows.worker(worker_id, record, running)
            for worker_id, (record, running) in zip(ids, answers, strict=True)
            if record.get("host")
        ]
        return sorted(found, key=lambda worker: (worker.started_ms, worker.id))

    def queues(self) -> list[QueueRecord]:
        """Every queue that a job or a worker has named."""
        return [
            QueueRecord(
                id=queue,
                model=(about := json.loads(described))["model"],
                model_version=about["version"],
                digest=about["digest"],
                pending=pending,
                following=following,
                retrying=retrying,
                running=running,
                hints=hints,
                workers=workers,
                slots=slots,
                drain_rate=float(rate) if rate else None,
            )
            for (
                queue, described, pending, following, retrying, running, hints, workers, slots,
                rate,
            ) in self.connection.run("queues", self._lease_ms)
        ]  # fmt: skip

    def counters(self) -> dict[str, int]:
        """Totals since the store began: jobs by end, cache hits and misses, shared runs."""
        with translated():
            counted: Any = self.connection.redis.hgetall(keys.COUNTERS())
        return {name: int(value) for name, value in sorted(counted.items())}
