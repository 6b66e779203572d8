"""Completions as OpenAI's clients ask for them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from tests.support.calling import chunks, claimed
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker

COMPLETIONS = "/v1/completions"


@contextmanager
def completing(http: httpx.Client, **fields: Any) -> Iterator[list[httpx.Response]]:
    """A completion that waits, as :func:`asking`."""
    answers: list[httpx.Response] = []
    body = {"model": "tiny", **fields}
    thread = threading.Thread(target=lambda: answers.append(http.post(COMPLETIONS, json=body)))
    thread.start()
    try:
        yield answers
    finally:
        thread.join(timeout=30)


def test_a_completion_continues_a_text_without_a_template(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with completing(http, prompt="Once upon") as answers:
        claim = claimed(front, worker)
        worker.finish(claim)
    said = answers[0].json()

    assert claim.input == {"prompt": "Once upon"}
    assert claim.parameters["max_tokens"] == 16
    assert said["id"] == claim.job_id.replace("job_", "cmpl-")
    assert said["object"] == "text_completion"
    assert said["choices"] == [
        {"index": 0, "text": "Paris.", "logprobs": None, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [
        ([5, 6, 7], [{"tokens": [5, 6, 7]}]),
        (["a", "b"], [{"prompt": "a"}, {"prompt": "b"}]),
        ([[5], [6, 7]], [{"tokens": [5]}, {"tokens": [6, 7]}]),
    ],
)
def test_prompts_can_be_several_and_token_ids(
    http: httpx.Client, front: LocalFront, worker: HandWorker, prompt: Any, inputs: list[Any]
) -> None:
    with completing(http, prompt=prompt) as answers:
        claims = [claimed(front, worker) for _ in inputs]
        for claim in claims:
            worker.finish(claim)
    said = answers[0].json()

    assert [claim.input for claim in claims] == inputs
    assert len(said["choices"]) == len(inputs)
    assert said["usage"]["prompt_tokens"] == len(inputs) * USAGE["prompt_tokens"]


def test_a_completion_is_streamed(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    body = {"model": "tiny", "prompt": "x", "stream": True}
    with http.stream("POST", COMPLETIONS, json=body) as response:
        claim = claimed(front, worker)
        worker.say(claim, "Par", "is.")
        worker.finish(claim)
        response.read()
        found = list(chunks(response))

    assert "".join(chunk["choices"][0]["text"] for chunk in found[:-1]) == "Paris."
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("field", "value"),
    [("echo", True), ("suffix", "x"), ("logprobs", 2), ("best_of", 3), ("prompt", [])],
)
def test_what_a_completion_cannot_do_is_refused_by_its_name(
    client: FlaskClient, field: str, value: Any
) -> None:
    answer = client.post(COMPLETIONS, json={"model": "tiny", "prompt": "x", field: value})
    assert (answer.status_code, answer.json["error"]["param"]) == (400, field)  # type: ignore[index]
