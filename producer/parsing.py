"""From bytes, query strings and headers to validated values; from pydantic's errors to ours."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from contract.errors import (
    BodyTooLargeError,
    EmptyPromptError,
    FieldError,
    InvalidRequestError,
    MalformedBodyError,
)
from producer.request_schemas import INPUT_KINDS, PATTERN_WORDS

Parsed = TypeVar("Parsed", bound=BaseModel)

#: Wrong fields that one answer names; a body can hold thousands.
MAX_FIELD_ERRORS = 20
#: Objects of a body that are read without a pause: about a millisecond.
OBJECTS_AT_ONCE = 1000


def read_json(request: Request, *, max_bytes: int) -> Any:
    """The JSON value in the request's body.

    Raises:
        UnsupportedMediaType: the content type is not JSON.
        BodyTooLargeError: it has more than ``max_bytes``; nothing was parsed.
        MalformedBodyError: it is not one JSON value in UTF-8.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("send the body in UTF-8")
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("send the body without a content encoding")
    too_large = BodyTooLargeError(
        f"the body is larger than the {max_bytes} bytes that this server takes"
    )
    # Werkzeug cuts a chunked body at its limit without a word: one byte more tells.
    request.max_content_length = max_bytes + 1
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise too_large from None
    if len(raw) > max_bytes:
        raise too_large
    return parse_json(raw)


def parse_json(raw: bytes) -> Any:
    """Strict JSON: Unicode text, finite numbers, no name twice. Raises MalformedBodyError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_Objects())
        if "\\u" in text:  # only an escape can smuggle in what UTF-8 has no bytes for
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise MalformedBodyError(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except UnicodeEncodeError:
        raise MalformedBodyError("the body holds half of a surrogate pair") from None
    except RecursionError:
        raise MalformedBodyError("the body is nested too deeply") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise MalformedBodyError("the body holds a number with too many digits") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBodyError(f"{name} is not JSON; numbers must be finite")


class _Objects:
    """Makes the objects of one body; other requests have their turns while a large one is read."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        self._count += 1
        if self._count % OBJECTS_AT_ONCE == 0:
            time.sleep(0)
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise MalformedBodyError(f"an object of the body has the name {twice[:64]!r} twice")
        return found


def parse_body(model: type[Parsed], value: Any, *, what: str = "body") -> Parsed:
    """``value`` as a ``model``; an error calls it ``what``.

    Raises:
        EmptyPromptError: its ``input`` is there and has nothing in it.
        InvalidRequestError: with a JSON pointer for each wrong place.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = _fields(error, "")
        if any(_is_empty_prompt(each) for each in error.errors(include_url=False)):
            raise EmptyPromptError("the input has no text", wrong) from None
        raise InvalidRequestError(_summary(what, wrong), wrong) from None


def parse_query(model: type[Parsed], request: Request) -> Parsed:
    """The query string as a ``model``; a name given twice is wrong. InvalidRequestError."""
    try:
        given = request.args
    except UnicodeDecodeError:  # raw bytes; werkzeug takes wrong ones in %XX form by itself
        raise InvalidRequestError("query: it is not text in UTF-8") from None
    wrong = [
        FieldError(pointer=f"/query/{_escape(name)}", detail="is given more than once")
        for name, values in given.lists()
        if len(values) > 1
    ]
    if not wrong:
        try:
            return model.model_validate(given.to_dict())
        except ValidationError as error:
            wrong = _fields(error, "/query")
    raise InvalidRequestError(_summary("query", wrong), wrong)


def parse_headers(model: type[Parsed], request: Request) -> Parsed:
    """The headers that ``model`` names. InvalidRequestError."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    given = {name: request.headers[name] for name in names if name in request.headers}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = _fields(error, "/headers")
        raise InvalidRequestError(_summary("headers", wrong), wrong) from None


def _summary(where: str, wrong: Sequence[FieldError]) -> str:
    first = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{where}: {first.pointer or '/'} {first.detail}{more}"


def _fields(error: ValidationError, prefix: str) -> list[FieldError]:
    found = error.errors(include_url=False, include_input=False)
    return [
        FieldError(pointer=prefix + _pointer(each), detail=_words(each))
        for each in found[:MAX_FIELD_ERRORS]
    ]


def _pointer(error: ErrorDetails) -> str:
    steps = [step for step in error["loc"] if not _is_tag(step)]
    if steps and steps[-1] == "[key]":  # pydantic's mark for a wrong name; its name comes before
        steps.pop()
    return "".join(f"/{_escape(str(step)[:64])}" for step in steps)


def _is_empty_prompt(error: ErrorDetails) -> bool:
    value = error["input"]
    blank = value == [] or (isinstance(value, str) and not value.strip())
    return error["loc"][:1] == ("input",) and blank


def _is_tag(step: int | str) -> bool:
    return isinstance(step, str) and step in INPUT_KINDS


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


#: By pydantic's type of error, where its own words are about Python or say nothing to a sender.
_WORDS: Mapping[str, str] = {
    "extra_forbidden": "is not a field here",
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "string_type": "must be a string",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
}


def _words(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "list_type" and INPUT_KINDS.intersection(error["loc"]):
        return "must be a string or a JSON array"
    if error["type"] == "literal_error" and error["loc"] == ("task",):
        return "must be 'generate' or 'embed'"  # the body was taken for one of the two
    if error["type"] == "union_tag_invalid":
        return "must be a string or a JSON array of what this takes"
    known = _WORDS.get(error["type"]) or PATTERN_WORDS.get(context.get("pattern", ""))
    if known:
        return known.format_map(context)
    message = error["msg"].removeprefix("Value error, ")
    return message.replace("Input should", "should") if message else "is wrong"
