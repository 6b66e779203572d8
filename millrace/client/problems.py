"""From what the server says went wrong to the class that means it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from contract.errors import (
    FieldError,
    InvalidRequestError,
    JobFailedError,
    MillraceError,
    QueueFullError,
    UnexpectedAnswerError,
)


def problem_error(response: httpx.Response) -> MillraceError:
    """The error that a problem+json answer (RFC 9457) describes; its body must be read."""
    try:
        problem = response.json()
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("error"), dict):  # as /v1 says it
        said = problem["error"]
        problem = {"code": said.get("code"), "detail": said.get("message")}
    if not isinstance(problem, dict) or "code" not in problem:
        return UnexpectedAnswerError(
            f"{response.request.url} answered HTTP {response.status_code} without saying why:"
            " is that address a Millrace?"
        )
    return error_of({"title": response.reason_phrase, **problem}, retry_after_s(response))


def error_of(problem: Mapping[str, Any], wait_s: float | None) -> MillraceError:
    """The error that a problem with a ``code`` means; ``wait_s`` is when to come back."""
    detail = str(problem.get("detail") or problem.get("title") or problem["code"])
    kind = _CLASSES.get(str(problem["code"]), MillraceError)
    if issubclass(kind, QueueFullError):
        return kind(detail, int(wait_s or 1))
    if issubclass(kind, InvalidRequestError):
        return kind(detail, tuple(_field_errors(problem.get("errors"))))
    return kind(detail)


def job_error(job_id: str, error: Mapping[str, Any]) -> MillraceError:
    """The error for a failed job, from its record's ``{code, message, retryable}``."""
    message = f"job {job_id} failed: {error.get('message') or error.get('code') or 'no reason'}"
    kind = _CLASSES.get(str(error.get("code")), JobFailedError)
    if issubclass(kind, QueueFullError) or kind is MillraceError:
        kind = JobFailedError
    return kind(message)


def retry_after_s(response: httpx.Response) -> float | None:
    """The ``Retry-After`` header in seconds; its date form is not used by Millrace."""
    try:
        wanted_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return wanted_s if 0 <= wanted_s < math.inf else None


def _field_errors(rows: Any) -> Iterator[FieldError]:
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            yield FieldError(pointer=str(row.get("pointer")), detail=str(row.get("detail")))


def _tree(root: type[MillraceError]) -> Iterator[type[MillraceError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


_CLASSES = {kind.code: kind for kind in _tree(MillraceError)}
