"""Every error has a status of its own kind and leaves the server as a problem."""

import inspect
import json
from typing import Any

import pytest
from flask import Flask

from contract import errors
from contract.errors import MillraceError, QueueFullError
from producer.problems import install_error_handlers, status_of


def app_that_raises(error: Exception) -> Flask:
    app = Flask("test")
    install_error_handlers(app, max_backlog=7)

    @app.get("/")
    def fail() -> str:
        raise error

    return app


def test_every_error_class_has_a_status() -> None:
    classes = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, MillraceError)
    ]

    assert len(classes) > 20
    assert all(400 <= status_of(each) < 600 for each in classes)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestError, 422),
        (errors.EmptyPromptError, 422),
        (errors.MalformedBodyError, 400),
        (errors.BodyTooLargeError, 413),
        (errors.UnknownModelError, 404),
        (errors.JobGoneError, 410),
        (errors.NotDeadError, 409),
        (errors.StoreUnavailableError, 503),
        (errors.ModelTamperedError, 500),
    ],
)
def test_a_class_has_the_status_of_its_nearest_ancestor(
    error: type[MillraceError], status: int
) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(("asked_s", "told_s"), [(0, "1"), (17, "17"), (5000, "120")])
def test_a_full_queue_says_when_to_come_back_within_two_minutes(asked_s: int, told_s: str) -> None:
    error = QueueFullError("full", retry_after_s=asked_s)

    response = app_that_raises(error).test_client().get("/")

    assert response.status_code == 429
    assert response.headers["Retry-After"] == told_s
    assert response.headers["RateLimit"] == f'"backlog";r=0;t={told_s}'
    assert response.headers["RateLimit-Policy"] == '"backlog";q=7'


def test_an_unexpected_error_says_nothing_of_its_inside() -> None:
    response = app_that_raises(RuntimeError("the password is 1234")).test_client().get("/")

    found: dict[str, Any] = json.loads(response.data)
    assert response.status_code == 500
    assert response.content_type == "application/problem+json"
    assert found["code"] == "internal_error"
    assert "1234" not in response.text
    assert "RuntimeError" not in response.text


def test_a_problem_has_every_member_of_the_rfc() -> None:
    response = app_that_raises(errors.UnknownJobError("no such job")).test_client().get("/")

    assert json.loads(response.data) == {
        "type": "urn:millrace:problem:unknown_job",
        "title": "Unknown job",
        "status": 404,
        "detail": "no such job",
        "code": "unknown_job",
        "retryable": False,
        "errors": [],
        "instance": "/",
    }


def test_the_headers_of_http_errors_are_kept() -> None:
    response = app_that_raises(RuntimeError()).test_client().post("/")

    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert response.content_type == "application/problem+json"
