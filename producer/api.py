"""Operations: one decorator gives a function its route, its parsing and its OpenAPI entry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, Response, request
from pydantic import BaseModel

from contract.errors import MillraceError
from producer.dialect import Dialect
from producer.parsing import parse_body, parse_headers, parse_query, read_json
from producer.problems import PROBLEMS
from producer.request_schemas import Headers, NoHeaders, NoQuery, Query

View = TypeVar("View", bound=Callable[..., "Answer | Response"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a view returns: a status, a body (None: no content) and headers."""

    status: int = 200
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A success that an operation may answer with, for its documentation.

    A ``streamed`` one comes as server-sent events where the body of the request says so.
    Without a ``body``, another media type than JSON's is text. ``headers`` maps each name to its
    meaning; the ``optional`` ones may be absent.
    """

    status: int
    meaning: str
    body: type[BaseModel] | None = None
    streamed: bool = False
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyChoice:
    """The models that a body can be; ``choose`` picks the one that a parsed value is meant as."""

    models: tuple[type[BaseModel], ...]
    choose: Callable[[Any], type[BaseModel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path. ``path`` is Flask's: ``/jobs/<job_id>``."""

    method: str
    path: str
    name: str
    summary: str
    description: str
    tag: str
    replies: Sequence[Reply]
    errors: Sequence[type[MillraceError]]
    query: type[Query]
    headers: type[Headers]
    body: BodyChoice | None
    upload: type[BaseModel] | None
    max_body_bytes: int
    dialect: Dialect


class Api:
    """The operations of one application, in the order in which they were declared."""

    def __init__(self, app: Flask, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        *,
        tag: str,
        replies: Sequence[Reply],
        errors: Sequence[type[MillraceError]] = (),
        query: type[Query] = NoQuery,
        headers: type[Headers] = NoHeaders,
        body: BodyChoice | None = None,
        upload: type[BaseModel] | None = None,
        max_body_bytes: int | None = None,
        dialect: Dialect = PROBLEMS,
    ) -> Callable[[View], View]:
        """Serve the decorated view at ``method path``.

        The view gets the parts of its path by name and, where they are declared, ``query``,
        ``headers``, ``body`` (validated) and ``raw`` (the body as parsed JSON). The first line
        of its docstring is the summary. ``dialect`` is that of its errors. ``upload`` documents
        the fields beside the file of a form, which the view reads itself (``producer.uploads``).
        """

        def register(view: View) -> View:
            summary, _, rest = (view.__doc__ or "").partition("\n")
            declared = Operation(
                method=method,
                path=path,
                name=view.__name__,
                summary=summary.strip(),
                description=" ".join(rest.split()),
                tag=tag,
                replies=replies,
                errors=errors,
                query=query,
                headers=headers,
                body=body,
                upload=upload,
                max_body_bytes=max_body_bytes or self._max_body_bytes,
                dialect=dialect,
            )
            self.operations.append(declared)
            self._app.add_url_rule(
                path, view.__name__, self._serving(declared, view), methods=[method]
            )
            return view

        return register

    def _serving(self, operation: Operation, view: View) -> Callable[..., Response]:
        @wraps(view)
        def serve(**parts: Any) -> Response:
            arguments = dict(parts)
            query = parse_query(operation.query, request)
            headers = parse_headers(operation.headers, request)
            if operation.query is not NoQuery:
                arguments["query"] = query
            if operation.headers is not NoHeaders:
                arguments["headers"] = headers
            if operation.body is not None:
                raw = read_json(request, max_bytes=operation.max_body_bytes)
                arguments["raw"] = raw
                arguments["body"] = parse_body(operation.body.choose(raw), raw)
            return _respond(view(**arguments))

        return serve


def _respond(answer: Answer | Response) -> Response:
    if isinstance(answer, Response):
        return answer
    content = answer.body.model_dump_json().encode() if answer.body is not None else None
    response = Response(content, status=answer.status, content_type="application/json")
    if content is None:
        del response.headers["Content-Type"]
    response.headers.extend(dict(answer.headers))
    return response
