"""Requests that are refused for more than their body: paths, queries, headers, a full queue."""

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from tests.integration.http.conftest import MakeFront
from tests.support.problems import JOBS, pointers, problem, submit


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


@pytest.mark.parametrize("path", ["/nope", f"{JOBS}/", "/api//v1/jobs", f"{JOBS}//events"])
def test_a_path_that_is_not_there_is_404_and_no_redirect(client: FlaskClient, path: str) -> None:
    problem(client.get(path), 404, "not_found")


def test_an_unknown_after_is_named(client: FlaskClient) -> None:
    problem(client.get(f"{JOBS}?after=job_nope"), 404, "unknown_job")


def test_a_full_queue_is_429_with_when_to_come_back(make_front: MakeFront) -> None:
    client = make_front(max_backlog="2").app.test_client()
    for number in range(2):
        assert submit(client, input=f"number {number}").status_code == 202

    with capture_logs() as said:
        for number in range(3):
            response = submit(client, input=f"one too many {number}")

    refused = [line for line in said if line["event"] == "requests.refused"]
    assert [(line["log_level"], line["code"]) for line in refused] == [("warning", "queue_full")]
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
