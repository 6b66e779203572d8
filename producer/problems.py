"""Errors on the wire: RFC 9457 problem details, and the HTTP status of every error class."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from pydantic import Field
from werkzeug.exceptions import HTTPException

from contract import errors
from contract.errors import FieldError, InvalidRequestError, MillraceError, QueueFullError
from producer.dialect import Dialect, Refusal
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
    errors.UnknownFileError: 404,
    errors.UnknownBatchError: 404,
    errors.UnknownResponseError: 404,
    errors.NotDeadError: 409,
    errors.BatchEndedError: 409,
    errors.JobGoneError: 410,
    errors.NoResultError: 410,
    errors.QueueFullError: 429,
    errors.NoWorkerError: 503,
    errors.StoreUnavailableError: 503,
    errors.StorageUnavailableError: 503,
    errors.RunCancelledError: 409,
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


def describe(error: MillraceError, fields: Sequence[FieldError]) -> Problem:
    """An error of ours within the answer to the current request."""
    return tell(
        Refusal(
            status=status_of(type(error)),
            code=error.code,
            detail=error.detail,
            retryable=error.retryable,
            fields=fields,
        )
    )


def tell(refusal: Refusal) -> Problem:
    """A refusal of the current request as a problem."""
    return Problem(
        type=f"urn:millrace:problem:{refusal.code}",
        title=refusal.code.replace("_", " ").capitalize(),
        status=refusal.status,
        detail=refusal.detail,
        code=refusal.code,
        retryable=refusal.retryable,
        errors=[ProblemField(pointer=each.pointer, detail=each.detail) for each in refusal.fields],
        instance=request.path,
    )


PROBLEMS = Dialect(media_type=PROBLEM_JSON, body=Problem, status=status_of, tell=tell)


def install_error_handlers(
    app: Flask, *, max_backlog: int, dialects: Mapping[str, Dialect] | None = None
) -> None:
    """Answer every error of ``app``; ``max_backlog`` is told beside a 429.

    ``dialects`` maps the beginning of a path to its words; all else is told as a problem.
    """
    refusals = Refusals()

    def dialect() -> Dialect:
        for beginning, found in (dialects or {}).items():
            if request.path.startswith(beginning):
                return found
        return PROBLEMS

    def answer(refusal: Refusal) -> Response:
        words = dialect()
        response = Response(
            words.tell(refusal).model_dump_json(),
            status=refusal.status,
            content_type=words.media_type,
        )
        response.headers.extend({**refusal.headers, **words.headers(refusal)})
        return response

    def answer_known(error: MillraceError) -> Response:
        status = dialect().status(type(error))
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            refusals.note(error)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request.failed", code=error.code, detail=error.detail, path=request.path)
        return answer(
            Refusal(
                status=status,
                code=error.code,
                detail=error.detail,
                retryable=error.retryable,
                fields=error.errors if isinstance(error, InvalidRequestError) else (),
                headers=_retry_headers(error, max_backlog),
            )
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
        detail = _explain(error, kept)
        return answer(Refusal(status=error.code, code=code, detail=detail, headers=kept))

    def answer_unexpected(error: Exception) -> Response:
        _log.exception("request.failed", path=request.path, method=request.method, exc_info=error)
        detail = "the server failed on this request; its log says why"
        return answer(Refusal(status=500, code=MillraceError.code, detail=detail))

    app.register_error_handler(MillraceError, answer_known)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unexpected)


def retry_after_s(error: MillraceError) -> int | None:
    """Whole seconds after which the same request may succeed; None when no time is known."""
    if isinstance(error, QueueFullError):
        return min(max(error.retry_after_s, 1), MAX_RETRY_AFTER_S)
    if isinstance(error, errors.NoWorkerError):
        return WORKER_RETRY_AFTER_S
    if isinstance(error, errors.StoreUnavailableError | errors.StorageUnavailableError):
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
