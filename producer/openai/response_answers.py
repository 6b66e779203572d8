"""What the calls for responses send."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from contract.errors import JobFailedError
from contract.job import Job, JobState
from producer.openai.answers import model_of
from producer.response_schemas import Sent

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class OutputText(Sent):
    """The text of an answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field(default=[])
    logprobs: list[Any] = Field(default=[])


class OutputMessage(Sent):
    """An answer."""

    type: Literal["message"] = "message"
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class InputDetails(Sent):
    """Of the tokens that were read."""

    cached_tokens: int
    cache_write_tokens: Literal[0] = 0


class OutputDetails(Sent):
    """Of the tokens that were written."""

    reasoning_tokens: Literal[0] = 0


class ResponseUsage(Sent):
    """Tokens, counted by the engine."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class ResponseFailure(Sent):
    """Why there is no answer."""

    code: Literal["server_error"] = "server_error"
    message: str


class Incomplete(Sent):
    """Why an answer ends where it does."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseObject(Sent):
    """A response, as it is at one moment."""

    id: str
    object: Literal["response"] = "response"
    created_at: float
    completed_at: float | None
    status: Status
    background: bool
    error: ResponseFailure | None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None = None
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool = True
    previous_response_id: str | None
    reasoning: None = None
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Literal["auto"] = "auto"
    tools: list[Any] = Field(default=[])
    top_logprobs: Literal[0] = 0
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None
    metadata: dict[str, str]


class ResponseDeleted(Sent):
    """That a response is gone."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputPart(Sent):
    """A part of what was asked."""

    type: Literal["input_text", "output_text"]
    text: str


class InputItem(Sent):
    """One turn of what was asked."""

    type: Literal["message"] = "message"
    id: str
    status: Literal["completed"] = "completed"
    role: str
    content: list[InputPart]


class InputItems(Sent):
    """A page of what was asked."""

    object: Literal["list"] = "list"
    data: list[InputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


def id_of_response(job_id: str) -> str:
    """The id of the response that a job gives."""
    return "resp_" + job_id.removeprefix("job_")


def job_id_of(response_id: str) -> str:
    """The id of the job underneath."""
    return "job_" + response_id.removeprefix("resp_")


def output_message(job: Job, text: str, status: Any) -> OutputMessage:
    """The answer of a job, or what there is of it."""
    content = [OutputText(text=text)] if status != "in_progress" else []
    return OutputMessage(id="msg_" + job.id.removeprefix("job_"), status=status, content=content)


def response_object(job: Job, asked: Mapping[str, Any]) -> ResponseObject:
    """A job as a response to what was ``asked``."""
    status = _status(job)
    output, usage = [], None
    if status in ("completed", "incomplete"):
        output = [output_message(job, job.output["text"], status)]
        used = job.usage or {}
        usage = ResponseUsage(
            input_tokens=used.get("prompt_tokens", 0),
            input_tokens_details=InputDetails(cached_tokens=used.get("cached_tokens", 0)),
            output_tokens=used.get("completion_tokens", 0),
            total_tokens=used.get("total_tokens", 0),
        )
    return ResponseObject(
        id=id_of_response(job.id),
        created_at=job.created_ms / 1000,
        completed_at=job.finished_ms / 1000 if output and job.finished_ms else None,
        status=status,
        background=asked["background"],
        error=ResponseFailure(message=_cause(job)) if status == "failed" else None,
        incomplete_details=Incomplete() if status == "incomplete" else None,
        instructions=asked["instructions"],
        max_output_tokens=asked["max_output_tokens"],
        model=model_of(job),
        output=output,
        previous_response_id=asked["previous_response_id"],
        store=asked["store"],
        temperature=asked["temperature"],
        text=asked["text"],
        top_p=asked["top_p"],
        usage=usage,
        metadata=dict(job.metadata),
    )


def _status(job: Job) -> Status:
    match job.state:
        case JobState.QUEUED:
            return "queued"
        case JobState.IN_PROGRESS:
            return "in_progress"
        case JobState.CANCELLED:
            return "cancelled"
        case JobState.COMPLETED:
            return "incomplete" if job.output["finish_reason"] == "length" else "completed"
        case _:
            return "failed"


def _cause(job: Job) -> str:
    if job.state is JobState.EXPIRED:
        return "the deadline passed before the answer was there"
    return str((job.error or {}).get("message", JobFailedError.code))
