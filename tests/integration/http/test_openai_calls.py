"""Chats as OpenAI's clients ask for them, from the call to the end of its jobs."""

import httpx
import pytest

from contract.errors import EngineError
from contract.job import Claim, JobState
from tests.support.calling import ASKED, CHAT, asking, chunks, claimed, jobs, text_of
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.waiting import eventually


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
        "json_schema": None,
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


def test_several_answers_are_several_jobs_with_seeds_of_their_own(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, n=3, seed=5) as answers:
        claims = [claimed(front, worker) for _ in range(3)]
        for claim, text in zip(claims, "abc", strict=True):
            worker.finish(claim, {"text": text, "finish_reason": "stop"})
    said = answers[0].json()

    assert [claim.parameters["seed"] for claim in claims] == [5, 6, 7]
    found = [(each["index"], each["message"]["content"]) for each in said["choices"]]
    assert found == [(0, "a"), (1, "b"), (2, "c")]
    assert said["usage"]["prompt_tokens"] == USAGE["prompt_tokens"]
    assert said["usage"]["completion_tokens"] == 3 * USAGE["completion_tokens"]


def test_several_answers_are_streamed_side_by_side(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    body = {**ASKED, "stream": True, "n": 2, "stream_options": {"include_usage": True}}
    with http.stream("POST", CHAT, json=body) as response:
        first, second = claimed(front, worker), claimed(front, worker)
        worker.say(second, "Lon", "don.")
        worker.finish(second, {"text": "London.", "finish_reason": "stop"})
        worker.say(first, "Par", "is.")
        worker.finish(first)
        response.read()
        found = list(chunks(response))

    texts = {0: "", 1: ""}
    for chunk in found[:-1]:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == {0: "Paris.", 1: "London."}
    assert found[-1] == "[DONE]"
    assert found[-2]["usage"]["completion_tokens"] == 2 * USAGE["completion_tokens"]
    assert len({chunk["id"] for chunk in found[:-1]}) == 1


def test_one_of_several_answers_that_fails_cancels_the_others(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, n=2) as answers:
        first = claimed(front, worker)
        front.store.cancel(first.job_id)
    assert answers[0].status_code == 409
    assert {each.state for each in jobs(front)} == {JobState.CANCELLED}
