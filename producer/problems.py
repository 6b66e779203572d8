"""Errors on the wire: RFC 9457 problem details, and the HTTP status of every error class."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from pydantic import Field
from werkzeug.exceptions import HTTPException

from contract import errors
from contract.errors import FieldError, InvalidRequestError, MillraceError, QueueFullError
from producer.refusals import Refusals
from producer.response_schemas import Sent

PROBLEM_JSON = "application/problem+json"

#: A class that is not here has the status of its nearest ancestor that is.
STATUS: Mapping[type[MillraceError], int] = {
    MillraceError: 500,
    errors.MalformedBodyError: 400,
    errors.InvalidRequestError: 422,
    errors.BodyTooLargeError: 413,
    errors.IdempotencyConflictError: 422,
    errors.AuthenticationError: 401,
    errors.UnknownJobError: 404,
    errors.UnknownModelError: 404,
    errors.NotDeadError: 409,
    errors.JobGoneError: 410,
    errors.NoResultError: 410,
    errors.QueueFullError: 429,
    errors.NoWorkerError: 503,
    errors.StoreUnavailableError: 503,
}

#: Seconds after which a client may try again. Above 120 the openai client gives up at once.
MAX_RETRY_AFTER_S = 120
STORE_RETRY_AFTER_S = 2
WORKER_RETRY_AFTER_S = 5

_log = structlog.get_logger()


class ProblemField(Sent):
    """One wrong place in the request."""

    pointer: str = Field(
        description="JSON pointer into the body; /query/NAME and /headers/NAME for the rest."
    )
    detail: str


class Problem(Sent):
    """Why a request was not done (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable word for the kind of error; switch on this.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[ProblemField]
    instance: str


def status_of(error: type[MillraceError]) -> int:
    """The HTTP status of an error class."""
    return next(STATUS[each] for each in error.__mro__ if each in STATUS)


def problem_response(
    *,
    status: int,
    code: str,
    detail: str,
    retryable: bool = False,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem as a response to the current request."""
    problem = _problem(status, code, detail, retryable, fields)
    response = Response(problem.model_dump_json(), status=status, content_type=PROBLEM_JSON)
    response.headers.extend(dict(headers or {}))
    return response


def describe(error: MillraceError, fields: Sequence[FieldError]) -> Problem:
    """An error of ours within the answer to the current request."""
    status = status_of(type(error))
    return _problem(status, error.code, error.detail, error.retryable, fields)


def _problem(
    status: int, code: str, detail: str, retryable: bool, fields: Sequence[FieldError]
) -> Problem:
    return Problem(
        type=f"urn:millrace:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        retryable=retryable,
        errors=[ProblemField(pointer=each.pointer, detail=each.detail) for each in fields],
        instance=request.path,
    )


def install_error_handlers(app: Flask, *, max_backlog: int) -> None:
    """Answer every error of ``app`` with a problem; ``max_backlog`` is told beside a 429."""

    refusals = Refusals()

    def answer_known(error: MillraceError) -> Response:
        status = status_of(type(error))
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            refusals.note(error)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request.failed", code=error.code, detail=error.detail, path=request.path)
        return problem_response(
            status=status,
            code=error.code,
            detail=error.detail,
            retryable=error.retryable,
            fields=error.errors if isinstance(error, InvalidRequestError) else (),
            headers=_retry_headers(error, max_backlog),
        )

    def answer_http(error: HTTPException) -> HTTPException | Response:
        if error.response is not None or error.code is None:
            return error  # a redirect, or a response that was made on purpose
        kept = {
            name: value
            for name, value in error.get_headers(request.environ)
            if name.lower() not in ("content-type", "content-length")
        }
        code = error.name.lower().replace(" ", "_")
        return problem_response(
            status=error.code, code=code, detail=_explain(error, kept), headers=kept
        )

    def answer_unexpected(error: Exception) -> Response:
        _log.exception("request.failed", path=request.path, method=request.method, exc_info=error)
        return problem_response(
            status=500,
            code=MillraceError.code,
            detail="the server failed on this request; its log says why",
        )

    app.register_error_handler(MillraceError, answer_known)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unexpected)


def retry_after_s(error: MillraceError) -> int | None:
    """Whole seconds after which the same request may succeed; None when no time is known."""
    if isinstance(error, QueueFullError):
        return min(max(error.retry_after_s, 1), MAX_RETRY_AFTER_S)
    if isinstance(error, errors.NoWorkerError):
        return WORKER_RETRY_AFTER_S
    if isinstance(error, errors.StoreUnavailableError):
        return STORE_RETRY_AFTER_S
    return None


def _retry_headers(error: MillraceError, max_backlog: int) -> dict[str, str]:
    wait_s = retry_after_s(error)
    if wait_s is None:
        return {}
    headers = {"Retry-After": str(wait_s)}
    if isinstance(error, QueueFullError):
        headers["RateLimit-Policy"] = f'"backlog";q={max_backlog}'
        headers["RateLimit"] = f'"backlog";r=0;t={wait_s}'
    return headers


def _explain(error: HTTPException, headers: Mapping[str, str]) -> str:
    if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers.get("Allow", "")
        return f"{request.method} is not allowed on {request.path}; allowed: {allowed}"
    if error.code == HTTPStatus.NOT_FOUND:
        return f"there is nothing at {request.path}; see /openapi.json for what there is"
    return error.description or error.name
