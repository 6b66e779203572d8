"""What tests of the front do over and over."""

import threading
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

JOBS = "/api/v1/jobs"


def submit(client: FlaskClient, /, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """Submit a job to the tiny model and expect it to be accepted."""
    body = {"model": "tiny", "input": "hello", **fields}
    response = client.post(JOBS, json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    return response


def soon(act: Callable[[], object]) -> threading.Thread:
    """Act on a thread of its own."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread
