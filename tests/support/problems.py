"""Requests that are refused, and what the refusal says."""

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

JOBS = "/api/v1/jobs"


def submit(client: FlaskClient, **fields: Any) -> TestResponse:
    """Submit a job to the tiny model, whatever comes of it."""
    return client.post(JOBS, json={"model": "tiny", "input": "hello", **fields})


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem that a response holds, with this status and code."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    found: dict[str, Any] = json.loads(response.data)
    assert found["code"] == code
    assert found["status"] == status
    return found


def pointers(found: dict[str, Any]) -> set[str]:
    """The places that a problem names."""
    return {each["pointer"] for each in found["errors"]}
