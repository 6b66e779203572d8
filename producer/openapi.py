"""The OpenAPI 3.1 document, built from the operations that are served."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contract.errors import InvalidRequestError, MalformedBodyError, MillraceError
from producer.api import Operation, Reply
from producer.dialect import Dialect
from producer.events import EVENT_STREAM

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_PART = re.compile(r"<(\w+)>")
_DESCRIPTION = (
    "Jobs for language models: submit one, then poll, wait or stream until it ends. "
    "Times are seconds since the epoch; errors are RFC 9457 problems with a stable `code`."
)

Mode = Literal["validation", "serialization"]


def build_document(operations: Sequence[Operation], *, version: str) -> dict[str, Any]:
    """The document that describes ``operations``; ``version`` is that of the software."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PART.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation)
    _, definitions = models_json_schema(list(_models(operations)), ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": version,
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _models(operations: Sequence[Operation]) -> Iterable[tuple[type[BaseModel], Mode]]:
    for operation in operations:
        yield operation.dialect.body, "serialization"
        for model in operation.body.models if operation.body else ():
            yield model, "validation"
        for reply in operation.replies:
            if reply.body is not None:
                yield reply.body, "serialization"


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *_path_parameters(operation),
            *_parameters(operation.query, "query"),
            *_parameters(operation.headers, "header"),
        ],
        "responses": _responses(operation),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.upload:
        described["requestBody"] = _upload(operation.upload, operation.max_body_bytes)
    if operation.body:
        refs = [{"$ref": _REF.format(model=each.__name__)} for each in operation.body.models]
        schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
        described["requestBody"] = {
            "required": True,
            "description": f"At most {operation.max_body_bytes} bytes.",
            "content": {_JSON: {"schema": schema}},
        }
    return described


def _upload(form: type[BaseModel], max_bytes: int) -> dict[str, Any]:
    fields = {each["name"]: each["schema"] for each in _parameters(form, "form")}
    whole = form.model_json_schema()
    kept = {name: whole[name] for name in ("dependentRequired",) if name in whole}
    return {
        "required": True,
        "description": f"The file may have {max_bytes} bytes.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}, **fields},
                    "required": ["file", *whole.get("required", [])],
                    "additionalProperties": False,
                    **kept,
                }
            }
        },
    }


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PART.findall(operation.path)
    ]


def _parameters(model: type[BaseModel], where: str) -> list[dict[str, Any]]:
    schema = model.model_json_schema(ref_template=_REF)
    found = []
    for name, described in schema.get("properties", {}).items():
        described = _without_null(described, schema.get("$defs", {}))
        parameter = {"name": name, "in": where, "required": False}
        meaning = described.pop("description", None)
        if meaning:
            parameter["description"] = meaning
        found.append({**parameter, "schema": described})
    return found


def _without_null(described: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """An absent parameter is not sent as null, and a parameter's schema stands by itself."""
    kept = {key: value for key, value in described.items() if key not in ("anyOf", "title")}
    if kept.get("default", ...) is None:
        del kept["default"]
    choices = [each for each in described.get("anyOf", []) if each.get("type") != "null"]
    for choice in choices:
        kept.update(choice)
    if "$ref" in kept:
        kept.update(definitions[kept.pop("$ref").rsplit("/", 1)[-1]])
        kept.pop("title", None)
    return kept


def _responses(operation: Operation) -> dict[str, Any]:
    found = {str(reply.status): _reply(reply) for reply in operation.replies}
    classes: list[type[MillraceError]] = [
        *operation.errors,
        InvalidRequestError,
        MillraceError,
        MalformedBodyError,
    ]
    meanings: dict[int, list[str]] = {}
    for error in classes:
        meanings.setdefault(operation.dialect.status(error), []).append(error.code)
    if operation.body or operation.upload:
        meanings.setdefault(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, []).append("unsupported_media_type")
    for status in sorted(meanings):
        codes = ", ".join(f"`{code}`" for code in dict.fromkeys(meanings[status]))
        found[str(status)] = _problem(operation.dialect, status, codes)
    return found


def _reply(reply: Reply) -> dict[str, Any]:
    described: dict[str, Any] = {"description": reply.meaning}
    if reply.headers:
        described["headers"] = {
            name: _header(meaning, required=name not in reply.optional)
            for name, meaning in reply.headers.items()
        }
    if reply.body is not None:
        schema: dict[str, Any] = {"$ref": _REF.format(model=reply.body.__name__)}
        described["content"] = {reply.media_type: {"schema": schema}}
        if reply.streamed:
            described["content"][EVENT_STREAM] = {"schema": {"type": "string"}}
    elif reply.media_type != _JSON:
        described["content"] = {reply.media_type: {"schema": {"type": "string"}}}
    return described


def _problem(dialect: Dialect, status: int, codes: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=dialect.body.__name__)}
    described: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {codes}",
        "content": {dialect.media_type: {"schema": schema}},
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        described["headers"] = {"Retry-After": _header("Seconds to wait before a retry.")}
    return described


def _header(meaning: str, *, required: bool = True) -> dict[str, Any]:
    return {"description": meaning, "required": required, "schema": {"type": "string"}}
