"""What the calls for batches take and send."""

from typing import Annotated, Literal

from pydantic import Field

from contract.batch import Batch, BatchState
from producer.openai.endpoints import ENDPOINTS
from producer.openai.response_answers import InputDetails, OutputDetails
from producer.request_schemas import WHOLE, WINDOW, Body, MetadataKey, MetadataValue, Number, Query
from producer.response_schemas import Sent

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class OutputExpiry(Body):
    """When the results are deleted."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000), WHOLE]


class CreateBatch(Body):
    """A file of calls to answer."""

    input_file_id: str = Field(min_length=1, max_length=64)
    endpoint: str = Field(json_schema_extra={"enum": list(ENDPOINTS)})
    completion_window: Annotated[str, Field(pattern=WINDOW)] = Field(
        description="`24h`; other times in s, m, h or d, up to `30d`, are taken too."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    output_expires_after: OutputExpiry | None = None

    @property
    def output_ttl_s(self) -> float | None:
        """Seconds that the results are kept, if that is said."""
        return None if self.output_expires_after is None else self.output_expires_after.seconds

    @property
    def window_s(self) -> float:
        """The completion window in seconds."""
        return int(self.completion_window[:-1]) * _UNITS[self.completion_window[-1]]


class BatchesQuery(Query):
    """Which batches."""

    limit: Annotated[int, Number] = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, min_length=1, max_length=64)


class BatchError(Sent):
    """What is wrong with a line of the file."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Sent):
    """Why the file is no batch."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(Sent):
    """How many lines are what."""

    total: int
    completed: int
    failed: int


class BatchUsage(Sent):
    """Tokens of all lines."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class BatchObject(Sent):
    """A batch. A time is null until it has come."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchList(Sent):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def batch_object(batch: Batch) -> BatchObject:
    """A record as it is sent."""
    at = {f"{state}_at": ms // 1000 for state, ms in batch.entered_ms.items()}
    told = [
        BatchError(code=e.code, message=e.message, param=e.param, line=e.line) for e in batch.errors
    ]
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=BatchErrors(data=told) if told else None,
        input_file_id=batch.input_file,
        completion_window=batch.window,
        status=batch.state,
        output_file_id=batch.output_file,
        error_file_id=batch.error_file,
        created_at=batch.created_ms // 1000,
        in_progress_at=at.get("in_progress_at"),
        expires_at=batch.deadline_ms // 1000,
        finalizing_at=at.get("finalizing_at"),
        completed_at=at.get("completed_at"),
        failed_at=at.get("failed_at"),
        expired_at=at.get("expired_at"),
        cancelling_at=at.get("cancelling_at"),
        cancelled_at=at.get("cancelled_at"),
        request_counts=RequestCounts(
            total=batch.total, completed=batch.completed, failed=batch.failed
        ),
        usage=_usage(batch),
        metadata=dict(batch.metadata) or None,
    )


def _usage(batch: Batch) -> BatchUsage | None:
    if not batch.usage:
        return None
    return BatchUsage(
        input_tokens=batch.usage.get("prompt_tokens", 0),
        input_tokens_details=InputDetails(cached_tokens=batch.usage.get("cached_tokens", 0)),
        output_tokens=batch.usage.get("completion_tokens", 0),
        total_tokens=batch.usage.get("total_tokens", 0),
    )
