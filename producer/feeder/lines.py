"""The lines of a batch's file: each is a call, with a name of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from contract.batch import LineError
from contract.errors import InvalidRequestError, UnknownModelError
from producer.catalog import Catalog
from producer.json_schemas import MOST_NESTING, nesting
from producer.openai.endpoints import Endpoint
from producer.parsing import parse_body, parse_json
from producer.request_schemas import Body, ModelName

MOST_LINES = 50_000
#: Wrong lines that one answer names.
MOST_ERRORS = 100


class _Named(Body):
    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class _Model(Body):
    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One call of a batch. ``body`` is as it was sent; ``number`` counts from 1."""

    number: int
    custom_id: str
    body: Mapping[str, Any]


def read_line(raw: bytes, number: int, *, max_bytes: int) -> tuple[Line, str]:
    """A line of the file, and the path that it calls. Raises InvalidRequestError."""
    if len(raw) > max_bytes:
        raise InvalidRequestError(f"the line is larger than the {max_bytes} bytes that one may be")
    try:
        value = parse_json(raw)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.detail.replace("the body", "the line")) from None
    if nesting(value) > MOST_NESTING:
        raise InvalidRequestError(f"the line is nested more than {MOST_NESTING} deep")
    named = parse_body(_Named, value, what="line")
    return Line(number=number, custom_id=named.custom_id, body=named.body), named.url


class FileCheck:
    """Whether a file, line by line, is a batch: of one model and one endpoint, no name twice."""

    def __init__(self, endpoint: Endpoint, catalog: Catalog, *, max_line_bytes: int) -> None:
        self._endpoint = endpoint
        self._catalog = catalog
        self._max_line_bytes = max_line_bytes
        self._lines: dict[str, int] = {}
        self._asked: str | None = None
        self._number = 0
        self.errors: list[LineError] = []
        self.model: str | None = None
        """The version that the file's model means now, as NAME:VERSION."""

    @property
    def total(self) -> int:
        """Lines that are calls."""
        return len(self._lines)

    @property
    def full(self) -> bool:
        """Whether it is no use to read on."""
        return len(self.errors) >= MOST_ERRORS or self.total > MOST_LINES

    def add(self, raw: bytes) -> None:
        """Look at the next line; an empty one is none."""
        self._number += 1
        if not raw.strip():
            return
        try:
            line, url = read_line(raw, self._number, max_bytes=self._max_line_bytes)
        except InvalidRequestError as error:
            param = error.errors[0].pointer.strip("/") if error.errors else None
            self._wrong("invalid_line", error.detail, param)
            return
        if url != self._endpoint.path:
            message = f"the batch is for {self._endpoint.path}, this line for {url[:200]!r}"
            self._wrong("invalid_url", message, "url")
        earlier = self._lines.setdefault(line.custom_id, self._number)
        if earlier != self._number:
            message = f"line {earlier} has the same custom_id {line.custom_id!r}"
            self._wrong("duplicate_custom_id", message, "custom_id")
        self._check_model(line)

    def end(self) -> None:
        """All lines were added."""
        if self.total > MOST_LINES:
            message = f"the file has more than {MOST_LINES} lines: cut it up"
            self.errors = [LineError(code="too_many_lines", message=message)]
        elif not self.total and not self.errors:
            self.errors = [LineError(code="empty_file", message="the file has no lines")]

    def _check_model(self, line: Line) -> None:
        try:
            asked = parse_body(_Model, {"model": line.body.get("model")}, what="body").model
        except InvalidRequestError as error:
            self._wrong("invalid_line", error.detail, "body.model")
            return
        if self._asked is None:
            self._asked = asked
            self._resolve(asked)
        elif asked != self._asked:
            message = f"all lines must name the same model: the first says {self._asked!r}"
            self._wrong("mismatched_model", message, "body.model")

    def _resolve(self, asked: str) -> None:
        try:
            version = self._catalog.resolve(asked)
        except UnknownModelError as error:
            self._wrong("model_not_found", error.detail, "body.model")
            return
        self.model = f"{version.name}:{version.version}"
        if version.manifest.task != self._endpoint.task:
            message = f"{version.name} is no model for {self._endpoint.path}"
            self._wrong("invalid_model", message, "body.model")

    def _wrong(self, code: str, message: str, param: str | None = None) -> None:
        self.errors.append(
            LineError(code=code, message=message, line=self._number, param=param or None)
        )
