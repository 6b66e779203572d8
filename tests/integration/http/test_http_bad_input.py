"""Every kind of bad input is refused by its name, and says where it is wrong."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.integration.http.conftest import MakeFront

JOBS = "/api/v1/jobs"


def submit(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post(JOBS, json={"model": "tiny", "input": "hello", **fields})


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    found: dict[str, Any] = json.loads(response.data)
    assert found["code"] == code
    assert found["status"] == status
    return found


def pointers(found: dict[str, Any]) -> set[str]:
    return {each["pointer"] for each in found["errors"]}


@pytest.mark.parametrize("model", ["nope", "tiny:9", "tiny@nope", "../tiny", "a/b", "tiny:", ".."])
def test_an_unknown_model_is_404_with_the_known_ones(client: FlaskClient, model: str) -> None:
    found = problem(submit(client, model=model), 404, "unknown_model")

    assert "known: " in found["detail"]
    assert "tiny" in found["detail"]


@pytest.mark.parametrize(
    "empty", ["", " \n", [], [{"role": "user", "content": ""}], [{"role": "user", "content": " "}]]
)
def test_an_empty_prompt_is_named(client: FlaskClient, empty: Any) -> None:
    found = problem(submit(client, input=empty), 422, "empty_prompt")

    assert all(pointer.startswith("/input") for pointer in pointers(found))


def test_an_over_long_prompt_says_the_limit_and_the_counted_tokens(client: FlaskClient) -> None:
    found = problem(submit(client, input="hello " * 500), 422, "prompt_too_long")

    assert "tiny takes at most 1023" in found["detail"]
    counted = int(found["detail"].split(" tokens")[0].rsplit(" ", 1)[1])
    assert 1023 < counted < 3000
    assert pointers(found) == {"/input"}


def test_a_prompt_that_cannot_fit_is_refused_uncounted(client: FlaskClient) -> None:
    found = problem(submit(client, input="x" * 200_000), 422, "prompt_too_long")

    assert "at least" in found["detail"]


def test_a_long_prompt_that_fits_is_accepted(client: FlaskClient) -> None:
    assert submit(client, input="a quick brown fox " * 60).status_code == 202


def test_a_body_over_the_cap_is_413_before_parsing(client: FlaskClient) -> None:
    body = b"{" * (2 << 20)

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "1048576 bytes" in problem(response, 413, "body_too_large")["detail"]


def test_wrong_types_are_named_by_pointers(client: FlaskClient) -> None:
    response = submit(
        client,
        input=[{"role": "user", "content": 5}, {"role": "robot", "content": "x"}],
        parameters={"max_tokens": "9", "stop": ["a", 7]},
        metadata={"a/b": 1},
        priority=True,
    )

    assert pointers(problem(response, 422, "invalid_request")) == {
        "/input/0/content",
        "/input/1/role",
        "/parameters/max_tokens",
        "/parameters/stop/1",
        "/metadata/a~1b",
        "/priority",
    }


@pytest.mark.parametrize("body", ["5", '"text"', "[]", "null", "true"])
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    response = client.post(JOBS, data=body, content_type="application/json")

    problem(response, 422, "invalid_request")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_are_refused(client: FlaskClient, number: str) -> None:
    body = f'{{"model": "tiny", "input": "x", "parameters": {{"temperature": {number}}}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert number in problem(response, 400, "malformed_body")["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "1e400"),
        ("temperature", "1e30"),
        ("max_tokens", "9" * 30),
        ("seed", "9" * 30),
        ("seed", "-1"),
        ("top_p", "0"),
        ("top_k", "1.5"),
    ],
)
def test_numbers_out_of_range_are_named(client: FlaskClient, name: str, value: str) -> None:
    body = f'{{"model": "tiny", "input": "x", "parameters": {{"{name}": {value}}}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert pointers(problem(response, 422, "invalid_request")) == {f"/parameters/{name}"}


def test_a_number_with_too_many_digits_is_refused(client: FlaskClient) -> None:
    body = f'{{"model": "tiny", "input": "x", "priority": {"9" * 5000}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "too many digits" in problem(response, 400, "malformed_body")["detail"]


@pytest.mark.parametrize(
    "body", [b'{"model": "tiny", "input": "\xff"}', b"\xff\xfe{\x00", b"\xed\xa0\x80", b""]
)
def test_a_body_that_is_not_json_in_utf8_is_400(client: FlaskClient, body: bytes) -> None:
    response = client.post(JOBS, data=body, content_type="application/json")

    problem(response, 400, "malformed_body")


def test_lone_surrogates_are_refused(client: FlaskClient) -> None:
    for body in (r'{"model": "tiny", "input": "\ud800"}', r'{"model": "\udfff", "input": "x"}'):
        response = client.post(JOBS, data=body, content_type="application/json")

        assert "surrogate" in problem(response, 400, "malformed_body")["detail"]


def test_nul_characters_are_refused(client: FlaskClient) -> None:
    found = problem(submit(client, input="a\0b", metadata={"k": "\0"}), 422, "invalid_request")

    assert pointers(found) == {"/input", "/metadata/k"}


def test_a_name_given_twice_is_refused(client: FlaskClient) -> None:
    body = '{"model": "tiny", "model": "other", "input": "x"}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "'model' twice" in problem(response, 400, "malformed_body")["detail"]


def test_deep_nesting_is_refused(client: FlaskClient) -> None:
    body = '{"input": ' + "[" * 100_000 + "]" * 100_000 + "}"

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "nested too deeply" in problem(response, 400, "malformed_body")["detail"]


def test_unknown_fields_are_refused_by_name(client: FlaskClient) -> None:
    found = problem(
        submit(client, webhook="https://x.example", parameters={"temprature": 1}),
        422,
        "invalid_request",
    )

    assert pointers(found) == {"/webhook", "/parameters/temprature"}


def test_too_much_metadata_is_refused(client: FlaskClient) -> None:
    problem(submit(client, metadata={str(n): "" for n in range(17)}), 422, "invalid_request")
    problem(submit(client, metadata={"k" * 65: ""}), 422, "invalid_request")
    problem(submit(client, metadata={"k": "v" * 513}), 422, "invalid_request")


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_deadline_out_of_range_is_refused(client: FlaskClient, seconds: float) -> None:
    found = problem(submit(client, deadline_s=seconds), 422, "invalid_request")

    assert pointers(found) == {"/deadline_s"}


def test_a_task_that_the_model_cannot_do_is_refused(client: FlaskClient) -> None:
    found = problem(submit(client, task="embed"), 422, "invalid_request")

    assert pointers(found) == {"/task"}
    assert "'generate'" in found["detail"]


@pytest.mark.parametrize("key", ["", "has space", "k" * 256, "caf\xe9"])
def test_a_bad_idempotency_key_is_refused(client: FlaskClient, key: str) -> None:
    response = client.post(
        JOBS, json={"model": "tiny", "input": "x"}, headers={"Idempotency-Key": key}
    )

    assert pointers(problem(response, 422, "invalid_request")) == {"/headers/Idempotency-Key"}


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
def test_another_content_type_is_415(client: FlaskClient, content_type: str) -> None:
    response = client.post(JOBS, data=b'{"model": "tiny"}', content_type=content_type)

    problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("suffix", ["", "/result", "/events"])
@pytest.mark.parametrize("job_id", ["job_nope", "x" * 100, "a%00b", "%2e%2e", "café"])
def test_an_unknown_job_is_404(client: FlaskClient, job_id: str, suffix: str) -> None:
    problem(client.get(f"{JOBS}/{job_id}{suffix}"), 404, "unknown_job")


@pytest.mark.parametrize("action", ["cancel", "redrive"])
def test_an_action_on_an_unknown_job_is_404(client: FlaskClient, action: str) -> None:
    problem(client.post(f"{JOBS}/job_nope/{action}"), 404, "unknown_job")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%201", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=done", "status"),
        ("after=a%20b", "after"),
        ("colour=red", "colour"),
        ("model=", "model"),
    ],
)
def test_a_bad_query_is_named(client: FlaskClient, query: str, name: str) -> None:
    found = problem(client.get(f"{JOBS}?{query}"), 422, "invalid_request")

    assert pointers(found) == {f"/query/{name}"}


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "soon", "1e3"])
def test_a_bad_wait_is_refused(client: FlaskClient, wait: str) -> None:
    job_id = submit(client).json["id"]  # type: ignore[index]

    found = problem(client.get(f"{JOBS}/{job_id}?wait={wait}"), 422, "invalid_request")

    assert pointers(found) == {"/query/wait"}


def test_a_bad_event_id_is_refused(client: FlaskClient) -> None:
    job_id = submit(client).json["id"]  # type: ignore[index]
    url = f"{JOBS}/{job_id}/events"

    by_header = client.get(url, headers={"Last-Event-ID": "5; DROP"})
    by_query = client.get(f"{url}?after=99999999999999999999-0")

    assert pointers(problem(by_header, 422, "invalid_request")) == {"/headers/Last-Event-ID"}
    assert pointers(problem(by_query, 422, "invalid_request")) == {"/query/after"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", JOBS, {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PUT", f"{JOBS}/job_x", {"GET", "HEAD", "OPTIONS"}),
        ("GET", f"{JOBS}/job_x/cancel", {"OPTIONS", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_is_not_allowed_is_405_with_allow(
    client: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    response = client.open(path, method=method)

    problem(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/nope", f"{JOBS}/", "//api/v1/jobs", f"{JOBS}//events"])
def test_a_path_that_is_not_there_is_404_and_no_redirect(client: FlaskClient, path: str) -> None:
    problem(client.get(path), 404, "not_found")


def test_an_unknown_after_is_named(client: FlaskClient) -> None:
    problem(client.get(f"{JOBS}?after=job_nope"), 404, "unknown_job")


def test_a_full_queue_is_429_with_when_to_come_back(make_front: MakeFront) -> None:
    client = make_front(max_backlog="2").app.test_client()
    for number in range(2):
        assert submit(client, input=f"number {number}").status_code == 202

    response = submit(client, input="one too many")

    assert problem(response, 429, "queue_full")["retryable"]
    assert 1 <= int(response.headers["Retry-After"]) <= 120
    assert response.headers["RateLimit-Policy"] == '"backlog";q=2'
    assert response.headers["RateLimit"].startswith('"backlog";r=0;t=')


def test_without_a_worker_a_job_is_accepted_and_says_so(client: FlaskClient) -> None:
    response = submit(client)

    assert response.status_code == 202
    assert response.json is not None
    assert response.json["waiting_reason"] == "no_worker"


def test_without_a_worker_a_job_is_refused_where_one_is_required(make_front: MakeFront) -> None:
    client = make_front(require_worker="1").app.test_client()

    response = submit(client)

    assert problem(response, 503, "no_worker")["retryable"]
    assert int(response.headers["Retry-After"]) >= 1
    assert client.get(JOBS).json == {"object": "list", "data": [], "has_more": False}
