"""Files and batches: records of many requests that are answered over hours, not while one waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from contract.errors import MillraceError


class BatchState(StrEnum):
    """The eight states, in the words of OpenAI's Batch API."""

    VALIDATING = "validating"
    FAILED = "failed"  # the file is no batch; nothing was run
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"  # every line has ended; the results become files
    COMPLETED = "completed"
    EXPIRED = "expired"  # the time was over; what was finished is kept
    CANCELLING = "cancelling"  # running lines may end, no other begins
    CANCELLED = "cancelled"


#: States of a batch that has ended.
ENDED = frozenset(
    {BatchState.FAILED, BatchState.COMPLETED, BatchState.EXPIRED, BatchState.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A stored file. ``expires_ms`` is None for one that is kept until it is deleted."""

    id: str
    name: str
    purpose: str
    size: int
    created_ms: int
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """What is wrong with a line of a batch's file; ``line`` counts from 1, None for all of it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What a producer asks the store to record. ``body_sha256`` is that of the request.

    ``output_ttl_s`` is how long its results are kept, None: as long as the batch.
    """

    id: str
    endpoint: str
    input_file: str
    window: str
    window_s: float
    body_sha256: str
    output_ttl_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as its record said at one moment. Times are Redis's clock, in ms since the epoch.

    ``entered_ms`` says when it came into each state that it has been in. ``model`` is the version
    that answers, once the file has been validated.
    """

    id: str
    state: BatchState
    endpoint: str
    input_file: str
    window: str
    body_sha256: str
    metadata: Mapping[str, str]
    created_ms: int
    deadline_ms: int
    entered_ms: Mapping[BatchState, int]
    model: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: Sequence[LineError] = ()
    output_file: str | None = None
    error_file: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    output_ttl_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedBatch:
    """A batch handed to one feeder. Every write of it carries ``attempt``, and a stale one is
    refused. ``failures`` counts the attempts in a row that ended without a word.
    """

    batch: Batch
    attempt: int
    now_ms: int
    failures: int


class LeaseLostError(MillraceError):
    """Another feeder holds the batch now; what this one does not write any more, that one will."""

    code = "lease_lost"
