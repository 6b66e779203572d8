"""Responses: at once, in the background, streamed, resumed, and as a conversation."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from contract.errors import EngineError
from contract.job import JobState
from tests.support.calling import claimed, jobs
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.waiting import eventually

PATH = "/v1/responses"
ASKED = {"model": "tiny", "input": "hello"}


@contextmanager
def asking(http: httpx.Client, **fields: Any) -> Iterator[list[httpx.Response]]:
    """A call that waits for its answer, which is there after the block."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(http.post(PATH, json={**ASKED, **fields}))
    )
    thread.start()
    try:
        yield answers
    finally:
        thread.join(timeout=30)


def begun(http: httpx.Client, **fields: Any) -> str:
    """The id of a response in the background."""
    answer = http.post(PATH, json={**ASKED, "background": True, **fields})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "queued"
    found: str = answer.json()["id"]
    return found


def events(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            data = json.loads(fields["data"])
            assert fields["event"] == data["type"]
            found.append(data)
    return found


def followed(http: httpx.Client, response: str, **query: Any) -> list[dict[str, Any]]:
    return events(http.get(f"{PATH}/{response}", params={"stream": "true", **query}).text)


def test_a_question_is_answered_at_once(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, instructions="be kind", max_output_tokens=7, metadata={"a": "b"}) as answers:
        claim = claimed(front, worker)
        worker.finish(claim)
    said = answers[0].json()

    assert claim.input["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
    ]
    assert claim.parameters["max_tokens"] == 7
    assert said["id"] == claim.job_id.replace("job_", "resp_")
    assert (said["object"], said["status"]) == ("response", "completed")
    (message,) = said["output"]
    assert message["content"][0]["text"] == "Paris."
    assert (said["instructions"], said["metadata"]) == ("be kind", {"a": "b"})
    assert said["usage"]["total_tokens"] == USAGE["total_tokens"]
    assert http.get(f"{PATH}/{said['id']}").json() == said


def test_an_answer_that_was_cut_off_is_incomplete(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, max_output_tokens=1) as answers:
        worker.finish(claimed(front, worker), {"text": "Par", "finish_reason": "length"})
    said = answers[0].json()
    assert said["status"] == "incomplete"
    assert said["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_response_in_the_background_goes_on_without_its_client(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    response = begun(http)
    claim = claimed(front, worker)
    assert http.get(f"{PATH}/{response}").json()["status"] == "in_progress"
    worker.finish(claim)
    said = http.get(f"{PATH}/{response}").json()
    assert (said["status"], said["background"]) == ("completed", True)


def test_a_stream_is_numbered_events(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with http.stream("POST", PATH, json={**ASKED, "stream": True}) as answer:
        claim = claimed(front, worker)
        worker.say(claim, "Par", "is.")
        worker.finish(claim)
        found = events(answer.read().decode())

    assert [each["type"].removeprefix("response.") for each in found] == [
        "created", "in_progress", "output_item.added", "content_part.added",
        "output_text.delta", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    assert "".join(each.get("delta", "") for each in found) == "Paris."
    assert found[0]["response"]["status"] == "in_progress"
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "Paris."


def test_a_stream_can_be_read_again_from_any_of_its_events(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    response = begun(http)
    claim = claimed(front, worker)
    worker.say(claim, "Par", "is", ".")
    worker.finish(claim)
    whole = followed(http, response)

    assert whole[-1]["type"] == "response.completed"
    for place in range(len(whole)):
        assert followed(http, response, starting_after=place) == whole[place + 1 :]


def test_a_second_attempt_repeats_no_event(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    response = begun(http)
    claim = claimed(front, worker)
    worker.say(claim, "Par", "i")
    worker.fail(claim, EngineError("the first attempt broke"))
    eventually(lambda: any(each.pending for each in front.store.queues()), timeout_s=20)
    again = worker.claim()
    worker.say(again, "Pa", "ris")
    worker.finish(again)

    found = followed(http, response)
    assert "".join(each.get("delta", "") for each in found) == "Paris."
    assert followed(http, response, starting_after=5) == found[6:]


@pytest.mark.parametrize("background", [True, False])
def test_only_a_background_response_outlives_its_client(
    http: httpx.Client, front: LocalFront, worker: HandWorker, background: bool
) -> None:
    own = httpx.Client(base_url=http.base_url, trust_env=False, timeout=0.5)
    with own, pytest.raises(httpx.ReadTimeout):
        own.post(PATH, json={**ASKED, "stream": True, "background": background}).read()
    job = jobs(front)[0]
    if background:
        worker.finish(worker.claim())
        assert front.store.get(job.id).state is JobState.COMPLETED
    else:
        eventually(lambda: front.store.get(job.id).state is JobState.CANCELLED, timeout_s=10)


def test_a_conversation_goes_on_from_a_previous_response(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    first = begun(http, instructions="only then")
    worker.finish(claimed(front, worker))
    second = begun(http, input="and Spain?", previous_response_id=first)
    claim = worker.claim()
    worker.finish(claim)

    assert claim.input["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": "and Spain?"},
    ]
    items = http.get(f"{PATH}/{second}/input_items", params={"order": "asc"}).json()
    assert [each["role"] for each in items["data"]] == ["user", "assistant", "user"]
    page = http.get(f"{PATH}/{second}/input_items", params={"limit": 2}).json()
    assert (page["has_more"], page["data"][0]["content"][0]["text"]) == (True, "and Spain?")
    rest = http.get(f"{PATH}/{second}/input_items", params={"after": page["last_id"]}).json()
    assert [each["id"] for each in rest["data"]] == [items["data"][0]["id"]]


def test_an_answer_without_a_word_is_left_out_of_the_conversation(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    first = begun(http)
    worker.finish(claimed(front, worker), {"text": "\n", "finish_reason": "length"})
    begun(http, input="go on", previous_response_id=first)
    assert [each["content"] for each in worker.claim().input["messages"]] == ["hello", "go on"]


def test_a_conversation_has_an_end(client: FlaskClient) -> None:
    many = [{"role": "user", "content": "x"}] * 1024
    answer = client.post(PATH, json={**ASKED, "input": many, "instructions": "one more"})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "input")


def test_a_conversation_cannot_go_on_from_nothing(client: FlaskClient) -> None:
    missing = client.post(PATH, json={**ASKED, "previous_response_id": "resp_none"})
    assert (missing.status_code, missing.get_json()["error"]["code"]) == (404, "unknown_response")
    queued = client.post(PATH, json={**ASKED, "background": True}).get_json()["id"]
    unready = client.post(PATH, json={**ASKED, "previous_response_id": queued})
    assert (unready.status_code, unready.get_json()["error"]["param"]) == (
        400, "previous_response_id",
    )  # fmt: skip


def test_a_response_is_cancelled_and_deleted(
    client: FlaskClient, front: LocalFront, worker: HandWorker
) -> None:
    response = client.post(PATH, json={**ASKED, "background": True}).get_json()["id"]
    cancelled = client.post(f"{PATH}/{response}/cancel").get_json()
    assert cancelled["status"] == "cancelled"
    gone = client.delete(f"{PATH}/{response}").get_json()
    assert gone == {"id": response, "object": "response", "deleted": True}
    assert client.get(f"{PATH}/{response}").status_code == 404
    assert client.delete(f"{PATH}/{response}").status_code == 404


def test_a_failed_response_says_why(
    http: httpx.Client, front: LocalFront, worker: HandWorker, settings: Any
) -> None:
    response = begun(http)
    for _ in range(settings.max_attempts):
        eventually(lambda: any(each.pending for each in front.store.queues()), timeout_s=20)
        worker.fail(worker.claim(), EngineError("the step failed"))
    said = http.get(f"{PATH}/{response}").json()
    assert said["status"] == "failed"
    assert "the step failed" in said["error"]["message"]
    assert followed(http, response)[-1]["type"] == "error"


def test_what_is_not_to_be_stored_cannot_be_read(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    with asking(http, store=False) as answers:
        worker.finish(claimed(front, worker))
    said = answers[0].json()
    assert (said["status"], said["store"]) == ("completed", False)
    assert http.get(f"{PATH}/{said['id']}").status_code == 404


def test_an_answer_can_be_asked_for_in_json(
    http: httpx.Client, front: LocalFront, worker: HandWorker
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "name": "x", "schema": schema}
    with asking(http, text={"format": form}) as answers:
        claim = claimed(front, worker)
        worker.finish(claim)
    assert claim.parameters["json_schema"] == schema
    assert answers[0].json()["text"]["format"] == form


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True, "store": False}, ""),
        ({"input": []}, "input"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(
    client: FlaskClient, fields: dict[str, Any], param: str
) -> None:
    answer = client.post(PATH, json={**ASKED, **fields})
    assert (answer.status_code, answer.get_json()["error"]["param"] or "") == (400, param)
