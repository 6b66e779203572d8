"""Which fields of OpenAI's calls are taken, and how the others are refused."""

from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from tests.support.calling import ASKED, CHAT, asking, claimed
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "high"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(
    client: FlaskClient, field: str, value: Any
) -> None:
    answer = client.post(CHAT, json={**ASKED, field: value})

    assert answer.status_code == 400
    error = answer.json["error"]  # type: ignore[index]
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert "is not supported by this server" in error["message"]


def test_every_neutral_and_harmless_field_is_taken(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    neutral = {
        "n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0,
        "response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "stop": None,
        "user": "me", "store": False, "service_tier": "auto", "metadata": {"of": "me"},
        "parallel_tool_calls": True, "temperature": None, "stream": False, "seed": None,
    }  # fmt: skip
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}]
    with asking(http, messages=messages, **neutral) as answers:
        claim = claimed(front, worker)
        worker.finish(claim)

    assert answers[0].status_code == 200
    assert claim.input["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one\ntwo"},
    ]
    assert front.store.get(claim.job_id).metadata == {"of": "me"}


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({**ASKED, "model": "gone"}, 404, "model_not_found", None),
        ({**ASKED, "messages": []}, 400, "invalid_request", "messages"),
        ({**ASKED, "messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_request",
         "messages[0].role"),
        ({**ASKED, "messages": [{"role": "user", "content": " "}]}, 400, "invalid_request",
         "messages[0].content"),
        ({**ASKED, "temperature": 3}, 400, "invalid_request", "temperature"),
        ({**ASKED, "no_such": 1}, 400, "invalid_request", "no_such"),
        ({**ASKED, "model": "tiny-embed"}, 404, "model_not_found", None),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_where_it_is_wrong(
    client: FlaskClient, body: Any, status: int, code: str, param: str | None
) -> None:
    answer = client.post(CHAT, json=body)

    assert answer.status_code == status
    assert answer.content_type == "application/json"
    error = answer.json["error"]  # type: ignore[index]
    assert (error["code"], error["param"]) == (code, param)
    assert answer.headers["x-should-retry"] == "false"


def test_paths_and_methods_that_are_not_there_are_told_in_the_same_words(
    client: FlaskClient,
) -> None:
    assert client.get("/v1/nothing").json["error"]["code"] == "not_found"  # type: ignore[index]
    wrong = client.get(CHAT)
    assert (wrong.status_code, wrong.json["error"]["code"]) == (405, "method_not_allowed")  # type: ignore[index]
    assert client.get("/api/v1/nothing").content_type == "application/problem+json"


def test_an_answer_can_be_asked_for_in_json(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    formats: list[tuple[dict[str, Any], Any]] = [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, schema),
    ]
    for asked, expected in formats:
        with asking(http, response_format=asked) as answers:
            claim = claimed(front, worker)
            worker.finish(claim)
        assert answers[0].status_code == 200
        assert claim.parameters["json_schema"] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_object", "json_schema": {"name": "x", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["x" * 70_000]}}},
    ],
)
def test_a_response_format_that_says_nothing_is_refused(
    client: FlaskClient, wrong: dict[str, Any]
) -> None:
    answer = client.post(CHAT, json={**ASKED, "response_format": wrong})
    assert answer.status_code == 400
    assert answer.json["error"]["param"].startswith("response_format")  # type: ignore[index]
