"""The store as a producer sees it: submit, read, cancel, redrive."""

import json
import math
import uuid
from collections.abc import Mapping
from typing import Any

from contract import keys
from contract.errors import (
    IdempotencyConflictError,
    NotDeadError,
    NotReplicatedError,
    NoWorkerError,
    QueueFullError,
    StoreUnavailableError,
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
from contract.store import rows
from contract.store.channels import WakeUps
from contract.store.connection import Connection, translated

_REPLICAS_TIMEOUT_S = 1.0
_MAX_RETRY_AFTER_S = 120  # above it the openai client does not retry at all


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
        answer = self._promise(
            "submit", new.id, new.queue, new.model, new.model_version, new.digest, new.task,
            _dumps(new.input), _dumps(new.parameters), new.priority, _dumps(new.metadata),
            None if new.deadline_s is None else int(new.deadline_s * 1000),
            new.fingerprint if s.cache_ttl_s > 0 else None,
            new.idempotency_key, new.body_sha256, s.max_backlog, self._ttl_ms,
            int(s.require_worker), self._lease_ms, known.id,
        )  # fmt: skip
        match answer[0]:
            case "replaced":
                identity.require()
                raise StoreUnavailableError("Redis was another store for a moment")
            case "recorded":
                if answer[3]:
                    identity.note(known, known.id, int(answer[3]))
                return Submission(
                    job=self.get(answer[1]), replayed=False, wants_hint=answer[2] == 1
                )
            case "replayed":
                return Submission(job=self.get(answer[1]), replayed=True, wants_hint=False)
            case "conflict":
                raise IdempotencyConflictError(
                    "this Idempotency-Key was used with another request body; use a new key"
                )
            case "no_worker":
                raise NoWorkerError(f"no worker serves {new.model}; try again when one is up")
        full = f"{answer[1]} jobs wait for {new.model}, the limit is {s.max_backlog}"
        if answer[1] < s.max_backlog:
            full += "; the places left are held for clients who were told to come back now"
        raise QueueFullError(
            full,
            retry_after_s=_retry_after_s(answer[2]),
        )

    def _promise(self, script: str, *arguments: Any) -> Any:
        """Call SUBMIT or CANCEL, and wait for as many replicas as MILLRACE_MIN_REPLICAS asks."""
        wanted = self._settings.min_replicas
        if wanted == 0:
            return self.connection.run(script, *arguments)
        answer, reached = self.connection.run_replicated(
            script, *arguments, replicas=wanted, timeout_s=_REPLICAS_TIMEOUT_S
        )
        refused = isinstance(answer, list) and answer[0] not in ("recorded", "replayed")
        if reached < wanted and not refused and answer is not None:
            raise NotReplicatedError(
                f"{reached} replicas have it, {wanted} must: repeat the request, a submit with its"
                " Idempotency-Key"
            )
        return answer

    def get(self, job_id: str) -> Job:
        """One job. Raises UnknownJobError, JobGoneError, StoreReplacedError."""
        try:
            return rows.job(job_id, self._view([job_id])[0])
        except UnknownJobError:
            self.connection.identity.require()  # a store that lost its jobs must not deny them
            raise

    def _view(self, job_ids: list[str]) -> list[Any]:
        arguments = [self._lease_ms, len(rows.FIELDS), *rows.FIELDS, *job_ids]
        found: list[Any] = self.connection.run("view", *arguments)
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
            for name, row in zip(names, self._view(names), strict=True):
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

    def redrive(self, job_id: str) -> Job:
        """Let a dead letter wait again. Raises NotDeadError, UnknownJobError, JobGoneError."""
        redriven = self.connection.run("redrive", job_id, uuid.uuid4().hex)
        job = self.get(job_id)
        if redriven != 1:
            raise NotDeadError(f"job {job_id!r} is {job.state}, not a dead letter")
        return job

    def read_events(self, wanted: Mapping[str, str]) -> dict[str, list[Event]]:
        """Entries behind the given stream ids ("0-0": all), at most 1,000 a job; one round trip."""
        with translated():
            pipeline = self.connection.redis.pipeline(transaction=False)
            for job_id, last in wanted.items():
                pipeline.xrange(keys.EVENTS(job_id), min=f"({last}", count=1000)
            answers = pipeline.execute()
        return {
            job_id: [rows.event(stream_id, fields) for stream_id, fields in entries]
            for job_id, entries in zip(wanted, answers, strict=True)
        }

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


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _retry_after_s(seconds: str) -> int:
    """Whole seconds until there is room; 5 when no rate has been measured."""
    return min(max(math.ceil(float(seconds)), 1), _MAX_RETRY_AFTER_S) if seconds else 5
