"""The job record, its states and its legal transitions; and the other rows a reader can ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
Json = Any  # what json.loads returns


class JobState(StrEnum):
    """The six states, in the words of OpenAI's Batch and Responses APIs."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset(
    {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED},
)

#: Every transition that a script in ``contract/store/lua`` may make. A dead letter is a failed
#: job that is kept aside with its cause; ``redrive`` alone leads out of a terminal state.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {
            JobState.IN_PROGRESS,
            JobState.COMPLETED,  # a follower, when the job that it follows completes
            JobState.FAILED,  # a dead letter
            JobState.CANCELLED,
            JobState.EXPIRED,
        }
    ),
    JobState.IN_PROGRESS: frozenset(
        {
            JobState.QUEUED,  # released, retried, or its worker was lost
            JobState.COMPLETED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.EXPIRED,
        }
    ),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),  # redrive of a dead letter
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}


class WaitingReason(StrEnum):
    """Why a queued job is not running."""

    NO_WORKER = "no_worker"  # no live worker serves its model
    NO_CAPACITY = "no_capacity"  # every slot of the live workers is taken
    RETRY_BACKOFF = "retry_backoff"  # a failed attempt waits for its next try
    SHARED_RUN = "shared_run"  # an identical job runs for both
    ISOLATION = "isolation"  # a suspect waits for a batch of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a producer asks the store to record.

    ``fingerprint`` is None where the answer may not be shared; ``idempotency_key`` and
    ``body_sha256`` go together. ``priority`` 0 is the most urgent, 9 the least. ``hint`` is the
    message by which a worker learns of work in the queue (``contract.queues``), or empty for none.
    """

    id: str
    queue: str
    model: str
    model_version: int
    digest: str
    task: str
    input: Json
    parameters: Mapping[str, Json]
    body_sha256: str
    hint: str
    priority: int = 5
    deadline_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as its record said at one moment. Times are Redis's clock, in ms since the epoch.

    ``attempts`` counts claims and is the fencing token of the running one; ``failures`` counts
    attempts that raised, ``losses`` those whose worker was lost. ``queue_position`` is 1 for the
    job that is claimed next. ``eta_s`` is the expected time to its end, None when unknown.
    """

    id: str
    state: JobState
    queue: str
    model: str
    model_version: int
    digest: str
    task: str
    priority: int
    metadata: Mapping[str, str]
    created_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    deadline_ms: int | None = None
    expires_ms: int | None = None
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    worker: str | None = None
    progress: int | None = None
    usage: Mapping[str, int] | None = None
    output: Json = None
    error: Mapping[str, Json] | None = None
    cached: bool = False
    dead: bool = False
    queue_position: int | None = None
    eta_s: float | None = None
    waiting_reason: WaitingReason | None = None

    @property
    def finished(self) -> bool:
        """Whether the job has its one terminal record."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The store's answer to a submit.

    ``replayed``: the idempotency key was known, the job is the earlier one.
    """

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job handed to a worker, with the attempt that every later write must carry."""

    job_id: str
    attempt: int
    queue: str
    task: str
    input: Json
    parameters: Mapping[str, Json]
    priority: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a job's event stream; ``id`` is its Redis Stream id."""

    id: str
    kind: str
    attempt: int
    data: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One live worker. ``models`` rows are {model, version, digest, queue, task, slots}."""

    id: str
    host: str
    pid: int
    device: str
    models: Sequence[Mapping[str, Json]]
    slots: int
    running: int
    state: str
    started_ms: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """One model's queue: how many jobs wait, run and wait for a retry; who serves it; how fast.

    ``drain_rate`` is finished jobs per second over the last minute, None when none finished.
    """

    id: str
    model: str
    model_version: int
    digest: str
    pending: int
    following: int
    retrying: int
    running: int
    hints: int
    workers: int
    slots: int
    drain_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """A part of a list, and whether more follows after its last row."""

    items: Sequence[Row]
    has_more: bool
