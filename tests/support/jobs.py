"""New jobs for tests of the store."""

import hashlib
import uuid
from typing import Any

from contract.job import NewJob

QUEUE = "tiny.0123456789ab"


def new_job(**changes: Any) -> NewJob:
    """A job of a queue of its own; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "id": "job_" + uuid.uuid4().hex,
        "queue": QUEUE,
        "model": "tiny",
        "model_version": 1,
        "digest": "0123456789abcdef",
        "task": "generate",
        "input": {"prompt": "hello"},
        "parameters": {"max_tokens": 4, "temperature": 0},
        "hint": "",
        "body_sha256": hashlib.sha256(b"hello").hexdigest(),
    }
    return NewJob(**{**fields, **changes})
