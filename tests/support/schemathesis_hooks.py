"""What generated requests cannot know: which models there are, and which keys were used.

Only well-formed values are replaced, by well-formed ones: what is meant to be refused stays.
"""

import re
import uuid
from typing import Any

import schemathesis

EMBEDDER = "tiny-embed"
GENERATOR = "tiny"
_LISTS = ("input", "messages", "content")
_FEW, _MOST = 4, 1024  # more than the most is meant to be refused
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """A body whose model is well-formed names one that can do what the rest of it asks."""
    operation = getattr(context, "operation", None)
    if operation is not None and operation.path == "/v1/embeddings" and isinstance(body, dict):
        return {**body, "model": EMBEDDER} if _is_well_formed(body.get("model")) else body
    if isinstance(body, dict) and isinstance(body.get("jobs"), list):
        return {**body, "jobs": [_with_known_model(job) for job in body["jobs"]]}
    return _with_known_model(body)


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:
    """A key of its own for each request: another body under a used key is rightly refused."""
    name = "Idempotency-Key"
    if headers and isinstance(headers.get(name), str) and _KEY.fullmatch(headers[name]):
        return {**headers, name: uuid.uuid4().hex}
    return headers


def _with_known_model(job: Any) -> Any:
    job = _shortened(job)
    if isinstance(job, dict) and _is_well_formed(job.get("model")):
        return {**job, "model": EMBEDDER if _asks_to_embed(job) else GENERATOR}
    return job


def _shortened(value: Any) -> Any:
    """Without most of the messages, and of their parts: the tiny model takes 1,023 tokens."""
    if isinstance(value, dict):
        found = {name: _shortened(each) for name, each in value.items() if name in _LISTS}
        return {**value, **found}
    if isinstance(value, list) and _FEW < len(value) <= _MOST:
        value = value[:_FEW]
    if isinstance(value, list):
        return [_shortened(each) if isinstance(each, dict) else each for each in value]
    return value


def _is_well_formed(model: Any) -> bool:
    return isinstance(model, str) and 1 <= len(model) <= 200 and "\0" not in model


def _asks_to_embed(body: dict[str, Any]) -> bool:
    texts = body.get("input")
    listed = isinstance(texts, list) and all(isinstance(each, str | list) for each in texts)
    return body.get("task") == "embed" or (body.get("task") is None and listed)
