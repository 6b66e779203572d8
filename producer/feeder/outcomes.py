"""What came of one line, as a line of a batch's output or of its errors."""

import hashlib
from collections.abc import Mapping
from typing import Any

from contract.batch import BatchState
from contract.errors import DeadlineExceededError, MillraceError, RunCancelledError
from contract.job import Job
from producer.openai.calls import completed
from producer.openai.endpoints import Endpoint
from producer.openai.problems import OPENAI, tell_error
from producer.request_schemas import Body

#: Why a line has no response, by the state that its batch is about to end in.
_NOT_RUN = {
    BatchState.CANCELLED: ("batch_cancelled", "the batch was cancelled before this line was run"),
    BatchState.EXPIRED: ("batch_expired", "the time of the batch was over before this line's end"),
}


def line_key(batch_id: str, custom_id: str) -> str:
    """24 hexadecimal digits that are the same whoever feeds the line, and whenever."""
    return hashlib.sha256(f"{batch_id} {custom_id}".encode()).hexdigest()[:24]


def answered(custom_id: str, job: Job, endpoint: Endpoint, body: Body) -> Mapping[str, Any]:
    """The line of a job that has ended."""
    try:
        answer = endpoint.answer([completed(job)], body).model_dump(mode="json")
    except RunCancelledError:
        return not_run(custom_id, job.id.removeprefix("job_"), BatchState.CANCELLED)
    except DeadlineExceededError:
        return not_run(custom_id, job.id.removeprefix("job_"), BatchState.EXPIRED)
    except MillraceError as error:
        return refused(custom_id, job.id.removeprefix("job_"), error)
    return _line(custom_id, job.id.removeprefix("job_"), 200, answer)


def refused(custom_id: str, key: str, error: MillraceError) -> Mapping[str, Any]:
    """The line of a call that is wrong, or whose job failed."""
    status = OPENAI.status(type(error))
    return _line(custom_id, key, status, tell_error(error).model_dump(mode="json"))


def not_run(custom_id: str, key: str, end: BatchState) -> Mapping[str, Any]:
    """The line of a call that its batch did not wait for."""
    code, message = _NOT_RUN[end]
    return {
        "id": f"batch_req_{key}",
        "custom_id": custom_id,
        "response": None,
        "error": {"code": code, "message": message},
    }


def _line(custom_id: str, key: str, status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "id": f"batch_req_{key}",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": f"job_{key}", "body": body},
        "error": None,
    }
