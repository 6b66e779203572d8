"""Errors as OpenAI's clients read them."""

from http import HTTPStatus

from contract.errors import InvalidRequestError, MillraceError, UnknownModelError
from producer.dialect import Dialect, Refusal
from producer.problems import status_of
from producer.response_schemas import Sent

_CODES = {UnknownModelError.code: "model_not_found"}
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class OpenAIError(Sent):
    """Why a call was not done."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(Sent):
    """The body of an answer that is an error, or the last event of a stream that broke."""

    error: OpenAIError


def tell(refusal: Refusal) -> OpenAIProblem:
    """One problem in OpenAI's words; ``param`` is the first place that is wrong."""
    usual = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return OpenAIProblem(
        error=OpenAIError(
            message=refusal.detail,
            type=_TYPES.get(HTTPStatus(refusal.status), usual),
            param=_param(refusal.fields[0].pointer) if refusal.fields else None,
            code=_CODES.get(refusal.code, refusal.code),
        )
    )


def tell_error(error: MillraceError) -> OpenAIProblem:
    """An error where there is no HTTP answer to carry it: in a stream, in a batch's file."""
    fields = error.errors if isinstance(error, InvalidRequestError) else ()
    return tell(
        Refusal(status=_status(type(error)), code=error.code, detail=error.detail, fields=fields)
    )


def _status(error: type[MillraceError]) -> int:
    # OpenAI answers all that is wrong with a request with 400.
    status = status_of(error)
    wrong = status == HTTPStatus.UNPROCESSABLE_ENTITY and issubclass(error, InvalidRequestError)
    return HTTPStatus.BAD_REQUEST if wrong else status


def _headers(refusal: Refusal) -> dict[str, str]:
    # Without it the client tries 409 and every 5xx again, whatever they mean.
    return {"x-should-retry": "true" if refusal.retryable else "false"}


def _param(pointer: str) -> str:
    """``/messages/0/content`` as ``messages[0].content``."""
    steps = pointer.removeprefix("/query").removeprefix("/headers").split("/")[1:]
    found = ""
    for step in steps:
        step = step.replace("~1", "/").replace("~0", "~")
        found += f"[{step}]" if step.isdigit() else f".{step}"
    return found.removeprefix(".")


OPENAI = Dialect(
    media_type="application/json",
    body=OpenAIProblem,
    status=_status,
    tell=tell,
    headers=_headers,
)
