"""The client against a real HTTP server whose answers the test writes."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contract.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    JobFailedError,
    JobUnfinishedError,
    MillraceError,
    NotDeadError,
    PoisonedJobError,
    QueueFullError,
    RunCancelledError,
    ServerUnreachableError,
    UnexpectedAnswerError,
    UnknownJobError,
    WaitTimeoutError,
)
from millrace import Client, Job
from millrace.client import RetryPolicy
from tests.support.http_stub import Answer, HttpStub, json_answer, problem

AT_ONCE = RetryPolicy(retries=3, first_s=0.001)


def job(status: str = "queued", **fields: Any) -> dict[str, Any]:
    return {"id": "job_1", "object": "job", "status": status, "model": "tiny", **fields}


@contextmanager
def serving(*answers: Answer) -> Iterator[tuple[HttpStub, Client]]:
    """A server that gives each answer once, and the last one again and again."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))
    with HttpStub(lambda _asked: next(turns)) as stub, Client(stub.url, policy=AT_ONCE) as client:
        yield stub, client


def test_a_submit_sends_only_what_was_said_and_a_key_of_its_own() -> None:
    with serving(json_answer(job(), 202)) as (stub, client):
        handle = client.submit("hello", model="tiny", max_tokens=5, temperature=None)
        client.submit("hello", model="tiny")
    first, second = stub.asked
    assert handle.id == "job_1"
    assert first.body == {
        "model": "tiny",
        "input": "hello",
        "parameters": {"max_tokens": 5},
    }
    assert len(first.headers["Idempotency-Key"]) == 36
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_a_refused_submit_is_repeated_with_the_same_key() -> None:
    answers = (
        problem(503, "store_unavailable", Retry_After="0"),
        Answer(body=b"{", broken=True),
        problem(429, "queue_full", Retry_After="0"),
        json_answer(job(), 202),
    )
    with serving(*answers) as (stub, client):
        assert client.submit("hello", model="tiny").id == "job_1"
    assert len(stub.asked) == 4
    assert len({each.headers["Idempotency-Key"] for each in stub.asked}) == 1


def test_retry_after_is_honoured_and_told() -> None:
    told: list[tuple[str, float]] = []
    answers = (problem(429, "queue_full", Retry_After="1"), json_answer(job(), 202))
    turns = iter(answers)
    with (
        HttpStub(lambda _asked: next(turns)) as stub,
        Client(stub.url, on_retry=lambda e, s: told.append((e.code, s))) as client,
    ):
        client.submit("hello", model="tiny")
    assert told == [("queue_full", 1.0)]


def test_a_server_that_asks_for_too_long_a_pause_is_not_waited_for() -> None:
    with (
        serving(problem(429, "queue_full", Retry_After="3600")) as (stub, client),
        pytest.raises(QueueFullError) as caught,
    ):
        client.submit("hello", model="tiny")
    assert caught.value.retry_after_s == 3600
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "unknown_job", UnknownJobError),
        (409, "not_dead", NotDeadError),
        (422, "invalid_request", InvalidRequestError),
        (500, "a_code_of_the_future", MillraceError),
    ],
)
def test_a_problem_becomes_the_class_of_its_code(
    status: int, code: str, kind: type[MillraceError]
) -> None:
    with (
        serving(problem(status, code, "what was wrong")) as (stub, client),
        pytest.raises(kind) as caught,
    ):
        client.redrive("job_1")
    assert caught.value.detail == "what was wrong"
    assert len(stub.asked) == 1


def test_wrong_fields_are_carried_with_their_pointers() -> None:
    row = {"pointer": "/parameters/max_tokens", "detail": "must be at least 1"}
    body = {"code": "invalid_request", "detail": "1 field is wrong", "errors": [row]}
    with (
        serving(json_answer(body, 422)) as (_stub, client),
        pytest.raises(InvalidRequestError) as caught,
    ):
        client.submit("hello", model="tiny", max_tokens=0)
    assert [each.pointer for each in caught.value.errors] == ["/parameters/max_tokens"]


def test_a_refused_connection_says_what_to_do() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        client = Client(url, policy=RetryPolicy(retries=0))
        with client, pytest.raises(ServerUnreachableError) as caught:
            client.workers()
    assert caught.value.detail == (
        f"no Millrace at {url}: start one with `millrace up`, or set MILLRACE_URL"
    )


def test_a_server_that_is_no_millrace_is_called_out() -> None:
    page = Answer(status=404, body=b"<html>", headers={"Content-Type": "text/html"})
    with (
        serving(page) as (_stub, client),
        pytest.raises(UnexpectedAnswerError, match="is that address a Millrace"),
    ):
        client.job("job_1")


def test_a_redrive_that_may_have_arrived_is_not_repeated() -> None:
    with (
        serving(Answer(body=b"{", broken=True)) as (stub, client),
        pytest.raises(ServerUnreachableError),
    ):
        client.redrive("job_1")
    assert len(stub.asked) == 1


def test_wait_polls_until_the_job_has_ended() -> None:
    done = job("completed", output={"text": "Paris.", "finish_reason": "stop"})
    answers = (json_answer(job()), json_answer(job("in_progress")), json_answer(done))
    with serving(*answers) as (stub, client):
        finished = client.job("job_1").wait()
    assert finished.text == "Paris."
    assert [each.path for each in stub.asked] == [
        "/api/v1/jobs/job_1",
        "/api/v1/jobs/job_1?wait=30",
        "/api/v1/jobs/job_1?wait=30",
    ]


def test_wait_gives_up_after_its_time_and_the_job_goes_on() -> None:
    with (
        serving(json_answer(job())) as (_stub, client),
        pytest.raises(WaitTimeoutError, match="it goes on"),
    ):
        client.job("job_1").wait(timeout_s=0.05)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"status": "queued"}, JobUnfinishedError),
        ({"status": "cancelled"}, RunCancelledError),
        ({"status": "expired"}, DeadlineExceededError),
        ({"status": "failed", "error": {"code": "poisoned", "message": "m"}}, PoisonedJobError),
        ({"status": "failed", "error": {"code": "novel", "message": "m"}}, JobFailedError),
        ({"status": "failed"}, JobFailedError),
    ],
)
def test_the_result_of_a_job_without_one_is_a_typed_error(
    fields: dict[str, Any], kind: type[MillraceError]
) -> None:
    with pytest.raises(kind, match="job_1"):
        _ = Job(id="job_1", **fields).text


def test_a_job_without_text_says_so_when_asked_for_it() -> None:
    embedded = Job(id="job_1", status="completed", task="embed", output={"embedding": [0.6, 0.8]})
    assert embedded.embeddings == [[0.6, 0.8]]
    with pytest.raises(InvalidRequestError, match="task embed"):
        _ = embedded.text


def test_the_only_model_of_a_task_is_the_default() -> None:
    models = [{"id": "other", "task": "generate"}, {"id": "minilm", "task": "embed"}]
    listed = json_answer({"object": "list", "data": models, "has_more": False})
    with serving(listed, json_answer(job(), 202)) as (stub, client):
        client.submit("hello")
        client.submit("hello again")
    assert [each.path for each in stub.asked] == ["/api/v1/models", "/api/v1/jobs", "/api/v1/jobs"]
    assert stub.asked[1].body["model"] == "other"


def test_among_several_models_the_usual_one_is_the_default_or_one_must_be_named() -> None:
    def listed(*names: str) -> Answer:
        data = [{"id": name, "task": "generate"} for name in names]
        return json_answer({"object": "list", "data": data, "has_more": False})

    answers = (listed("a", "smollm2"), json_answer(job(), 202))
    with serving(*answers) as (stub, client):
        client.submit("hello")
    assert stub.asked[1].body["model"] == "smollm2"
    with (
        serving(listed("a", "b")) as (stub, client),
        pytest.raises(InvalidRequestError, match="name one of a, b"),
    ):
        client.submit("hello")


def test_lists_are_pages_of_frozen_rows_and_unknown_fields_are_left_out() -> None:
    rows = [job("queued", a_field_of_the_future=1), job("completed")]
    listed = json_answer({"object": "list", "data": rows, "has_more": True})
    with serving(listed) as (stub, client):
        page = client.jobs(status="queued", limit=2)
    assert [each.status for each in page] == ["queued", "completed"]
    assert page.has_more
    assert stub.asked[0].path == "/api/v1/jobs?status=queued&limit=2"
    with pytest.raises(AttributeError):
        page.items[0].status = "failed"  # type: ignore[misc]


def test_pauses_grow_are_jittered_and_end() -> None:
    policy = RetryPolicy(retries=4, first_s=1.0, cap_s=3.0, draw=lambda: 0.0)
    assert [policy.pause_s(n) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 1.5, 1.5, None]
    assert [policy.pause_s(n, known=True) for n in (8, 9)] == [1.5, None]
    assert RetryPolicy(first_s=1.0, draw=lambda: 1.0).pause_s(1) == 1.0
    assert policy.pause_s(1, retry_after_s=7.0) == 7.0
