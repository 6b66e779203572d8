"""Requests that nobody means well: every answer is ours, and none is a failure of the server."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.support.fuzzing import Fuzzer, json_values, mutated_bytes, mutated_json
from tests.support.problems import JOBS, submit

GENERATE: dict[str, Any] = {
    "model": "tiny",
    "task": "generate",
    "input": [{"role": "user", "content": "hello"}],
    "parameters": {"max_tokens": 4, "temperature": 0.5, "top_p": 1, "top_k": 0, "seed": 1},
    "priority": 5,
    "deadline_s": 60,
    "metadata": {"a": "b"},
    "cache": True,
}
EMBED: dict[str, Any] = {"model": "tiny-embed", "input": ["one", "two"], "parameters": {}}
_WAITS = re.compile(r"wait\s*=\s*\"?0*[1-9]", re.IGNORECASE)

#: What a header or a query string can hold when it reaches WSGI: bytes, one character each.
_RAW = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
_PATHS = (
    "/", "/healthz", "/readyz", "/openapi.json", "/docs", "/api/v1/models", "/api/v1/workers",
    "/api/v1/queues", "/api/v1/dead", JOBS, f"{JOBS}:batch", f"{JOBS}/ID", f"{JOBS}/ID/result",
    f"{JOBS}/ID/events", f"{JOBS}/ID/cancel", f"{JOBS}/ID/redrive", f"{JOBS}/job_0", f"{JOBS}//",
    "//", "/static/x",
)  # fmt: skip
_METHODS = ("GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "X")


@pytest.fixture
def fuzzer(request: pytest.FixtureRequest) -> Fuzzer:
    return Fuzzer.of(request.config)


def require_ours(response: TestResponse) -> None:
    """No failure of the server, and every refusal says why in the one form."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400 and response.request.method != "HEAD":
        assert response.content_type == "application/problem+json", response.text
        problem = json.loads(response.data)
        assert re.fullmatch("[a-z_']+", problem["code"]), problem
        assert problem["status"] == response.status_code
        assert problem["code"] != "internal_error"


def post(client: FlaskClient, body: bytes, **headers: str) -> TestResponse:
    return client.post(
        JOBS, data=body, content_type="application/json", environ_overrides=environ(headers)
    )


def environ(headers: Mapping[str, str]) -> dict[str, Any]:
    """Headers as a server hands them on, past what a test client would not send."""
    return {f"HTTP_{name.upper()}": value for name, value in headers.items()}


@pytest.mark.parametrize("record", [GENERATE, EMBED], ids=["generate", "embed"])
def test_any_json_is_accepted_or_refused(
    client: FlaskClient, fuzzer: Fuzzer, record: dict[str, Any]
) -> None:
    assert post(client, json.dumps(record).encode()).status_code == 202

    def check(changed: Any) -> None:
        require_ours(post(client, json.dumps(changed).encode()))

    fuzzer.run(check, st.one_of(mutated_json(record), json_values()), examples=60)


def test_any_json_in_a_batch_is_accepted_or_refused_in_its_place(
    client: FlaskClient, fuzzer: Fuzzer
) -> None:
    def check(changed: Any) -> None:
        body = json.dumps({"jobs": [GENERATE, changed, EMBED]}).encode()
        response = client.post(f"{JOBS}:batch", data=body, content_type="application/json")
        require_ours(response)
        if response.status_code == 400:
            return  # what JSON has no bytes for, such as half of a surrogate pair
        entries = json.loads(response.data)["data"]
        assert [entries[0]["status"], entries[2]["status"]] == [202, 202]
        assert entries[1]["status"] < 500, entries[1]
        assert ("job" in entries[1]) == (entries[1]["status"] == 202)

    nested: Any = []
    for _ in range(200):
        nested = [nested]
    jobs = st.one_of(mutated_json(GENERATE), mutated_json(EMBED), json_values())
    fuzzer.run(check, jobs, examples=60, known=[nested, {"model": "tiny", "input": nested}, None])


def test_any_bytes_are_accepted_or_refused(client: FlaskClient, fuzzer: Fuzzer) -> None:
    def check(body: bytes) -> None:
        require_ours(post(client, body))

    fuzzer.run(
        check,
        mutated_bytes(json.dumps(GENERATE).encode()),
        examples=60,
        known=[
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b'{"model": "tiny", "input": "\\ud83d", "metadata": {"\\ude00": ""}}',
            b'{"model": "tiny", "input": "x", "priority": 1e999}',
            b'{"model": "tiny", "input": "x", "priority": ' + b"9" * 4000 + b"}",
            b'{"model": "tiny", "model": "tiny", "input": "x"}',
            b"\xef\xbb\xbf{}",
            b"",
        ],
    )


def test_any_headers_of_a_submit_are_accepted_or_refused(
    client: FlaskClient, fuzzer: Fuzzer
) -> None:
    body = json.dumps({"model": "tiny", "input": "hello"}).encode()
    names = ["idempotency_key", "prefer", "content_encoding", "transfer_encoding", "accept"]
    names += ["expect", "host", "x_forwarded_for", "range", "if_match", "authorization", "cookie"]

    def check(headers: dict[str, str]) -> None:
        if not _WAITS.search(headers.get("prefer", "")):  # nobody works here: it would wait
            require_ours(post(client, body, **headers))

    odd = st.sampled_from(["wait=", "wait=0", "wait=-1", ",,,", "wait=0;a", "chunked", "gzip", ""])
    fuzzer.run(check, st.dictionaries(st.sampled_from(names), st.one_of(_RAW, odd)), examples=50)


def test_any_kind_of_content_is_accepted_or_refused(client: FlaskClient, fuzzer: Fuzzer) -> None:
    body = json.dumps({"model": "tiny", "input": "hello"}).encode()
    words = st.sampled_from(
        ["application/", "json", "; charset=", "utf-8", "utf-16", '"', "*", "="]
    )

    def check(kind: str) -> None:
        overrides = {"CONTENT_TYPE": kind}
        require_ours(client.post(JOBS, data=body, environ_overrides=overrides))

    fuzzer.run(check, st.one_of(_RAW, st.lists(words, max_size=6).map("".join)), examples=40)


def test_any_request_of_any_path_is_answered_by_us(client: FlaskClient, fuzzer: Fuzzer) -> None:
    # A job that has ended: a stream of it ends, and nothing waits for it.
    ended = json.loads(submit(client).data)["id"]
    assert client.post(f"{JOBS}/{ended}/cancel").status_code == 202

    def check(drawn: tuple[str, str, str, str, dict[str, str]]) -> None:
        method, path, tail, query, headers = drawn
        overrides = {
            **environ(headers),
            "PATH_INFO": path.replace("ID", ended) + tail,
            "QUERY_STRING": query,
        }
        response = client.open("/", method=method, environ_overrides=overrides)
        assert len(response.data) < 1 << 20
        require_ours(response)

    names = st.sampled_from(["limit", "after", "status", "model", "wait", "x", "limit[]", ""])
    values = st.one_of(
        _RAW,
        st.sampled_from(["1", "0", "-1", "1e9", "nan", "inf", "%00", "%ff", "%", ended, "0-0"]),
    )
    pairs = st.tuples(names, values).map("=".join)
    query = st.one_of(_RAW, st.lists(pairs, max_size=3).map("&".join))
    headers = st.dictionaries(
        st.sampled_from(["last_event_id", "prefer", "accept", "host", "content_length", "range"]),
        st.one_of(_RAW, st.sampled_from(["0-0", "9" * 16 + "-" + "9" * 16, "1-1", "-", ""])),
        max_size=2,
    )
    requests = st.tuples(
        st.sampled_from(_METHODS),
        st.sampled_from(_PATHS),
        st.one_of(st.just(""), st.just(""), _RAW),
        query,
        headers,
    )
    fuzzer.run(check, requests, examples=120, known=[("GET", "/", "", "\x80", {})])
