"""Chats, embeddings and models as OpenAI's clients ask for them."""

import base64
import json
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from contract.errors import EngineError
from contract.job import Claim, Job, JobState
from contract.settings import Settings
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def asking(http: httpx.Client, **fields: Any) -> Iterator[list[httpx.Response]]:
    """A call that waits for its answer, which is there after the block."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(http.post(CHAT, json={**ASKED, **fields}))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        thread.join(timeout=30)


def claimed(front: LocalFront, worker: HandWorker) -> Claim:
    """The job of a call, once it is there."""
    eventually(lambda: jobs(front, JobState.QUEUED))
    return worker.claim()


def jobs(front: LocalFront, state: JobState | None = None) -> Sequence[Job]:
    return front.store.list_jobs(state=state, model=None, limit=10, after=None).items


def chunks(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "data":
            yield value if value == "[DONE]" else json.loads(value)


def text_of(found: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in found[:-1] for choice in chunk["choices"]
    )


def test_a_chat_is_answered_by_a_job(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, seed=-1, max_completion_tokens=7, stop="x", user="me") as answers:
        claim = claimed(front, worker)
        worker.finish(claim)
    said = answers[0].json()

    assert answers[0].status_code == 200
    assert answers[0].headers["x-request-id"] == claim.job_id
    assert claim.input == {"messages": [{"role": "user", "content": "hello"}]}
    assert claim.parameters == {
        "max_tokens": 7, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
        "seed": 2**31 - 1, "stop": ["x"],
    }  # fmt: skip
    assert said["id"] == claim.job_id.replace("job_", "chatcmpl-")
    assert (said["object"], said["model"]) == ("chat.completion", "tiny:1")
    assert said["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert said["usage"] == {
        "prompt_tokens": USAGE["prompt_tokens"],
        "completion_tokens": USAGE["completion_tokens"],
        "total_tokens": USAGE["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_stream_is_chunks_without_ids_and_ends_with_usage_and_done(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    body = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    with http.stream("POST", CHAT, json=body) as response:
        claim = claimed(front, worker)
        worker.say(claim, "Par", "is.")
        worker.finish(claim)
        raw = response.read().decode()
        found = list(chunks(response))

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert "\nid:" not in raw
    assert "\nevent:" not in raw
    assert found[-1] == "[DONE]"
    assert text_of(found) == "Paris."
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert found[-3]["choices"][0]["finish_reason"] == "stop"
    assert found[-2]["choices"] == []
    assert found[-2]["usage"]["total_tokens"] == USAGE["total_tokens"]
    assert all(chunk["usage"] is None for chunk in found[:-2])


def test_a_stream_without_usage_does_not_speak_of_it(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with http.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
        worker.finish(claimed(front, worker))
        response.read()
        found = list(chunks(response))

    assert text_of(found) == "Paris."
    assert not any("usage" in chunk for chunk in found[:-1])


def test_a_second_attempt_goes_on_where_the_stream_broke(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with http.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
        claim = claimed(front, worker)
        worker.say(claim, "Par", "i")
        worker.fail(claim, EngineError("the first attempt broke"))
        again = eventually(lambda: _claim_if_due(front, worker), timeout_s=20)
        assert again is not None
        worker.say(again, "Pa", "ris")
        worker.finish(again)
        response.read()
        found = list(chunks(response))

    assert again.attempt == 2
    assert text_of(found) == "Paris."
    assert found[-1] == "[DONE]"


def _claim_if_due(front: LocalFront, worker: HandWorker) -> Claim | None:
    due = [each for each in front.store.queues() if each.pending]
    return worker.claim() if due else None


def test_a_second_attempt_that_says_something_else_ends_the_stream_with_an_error(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with http.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
        claim = claimed(front, worker)
        worker.say(claim, "Lon")
        worker.finish(claim)
        response.read()
        found = list(chunks(response))

    assert found[-1]["error"]["code"] == "stream_diverged"
    assert found[-1]["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_job(
    http: httpx.Client, front: LocalFront, worker: HandWorker, stream: bool
) -> None:
    own = httpx.Client(base_url=http.base_url, trust_env=False, timeout=0.5)
    with own, pytest.raises(httpx.ReadTimeout):
        own.post(CHAT, json={**ASKED, "stream": stream}).read()
    job = jobs(front)[0]

    eventually(lambda: front.store.get(job.id).state is JobState.CANCELLED, timeout_s=10)


def test_a_job_that_fails_is_an_error_that_is_not_tried_again(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http) as answers:
        front.store.cancel(claimed(front, worker).job_id)

    assert answers[0].status_code == 409
    assert answers[0].headers["x-should-retry"] == "false"
    assert answers[0].json()["error"]["code"] == "cancelled"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_object"}),
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
        ({**ASKED, "model": "tiny-embed"}, 400, "invalid_request", "model"),
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


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_texts_are_embedded_in_their_order(
    http: httpx.Client,
    front: LocalFront,
    settings: Settings,
    models: ModelStore,
    encoding: str | None,
) -> None:
    vectors = [[1.0, 0.0], [0.5, -0.5]]
    answers: list[httpx.Response] = []
    body: dict[str, Any] = {"model": "tiny-embed", "input": ["a", "b"], "encoding_format": encoding}
    with HandWorker(settings, models.resolve("tiny-embed")) as worker:
        thread = threading.Thread(
            target=lambda: answers.append(http.post("/v1/embeddings", json=body))
        )
        thread.start()
        worker.finish(claimed(front, worker), {"embeddings": vectors})
        thread.join(timeout=30)
    said = answers[0].json()

    found = [each["embedding"] for each in said["data"]]
    if encoding == "base64":
        found = [list(struct.unpack("<2f", base64.b64decode(each))) for each in found]
    assert found == vectors
    assert [each["index"] for each in said["data"]] == [0, 1]
    assert said["usage"] == {"prompt_tokens": 3, "total_tokens": 5}


def test_models_are_listed_and_read_by_any_of_their_names(
    client: FlaskClient, tiny: ModelVersion
) -> None:
    listed = client.get("/v1/models").json
    assert listed is not None
    assert [each["id"] for each in listed["data"]] == ["tiny", "tiny-embed"]
    assert all(each["owned_by"] == "millrace" and each["created"] > 0 for each in listed["data"])
    assert client.get(f"/v1/models/tiny:{tiny.version}").json["object"] == "model"  # type: ignore[index]
    missing = client.get("/v1/models/gone")
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "model_not_found")  # type: ignore[index]
