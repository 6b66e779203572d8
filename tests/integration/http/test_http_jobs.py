"""Submit, read, wait for, list, cancel and redrive, against a real Valkey."""

import dataclasses
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from contract.errors import EngineError
from contract.settings import Settings
from model_store.manifest import ModelVersion
from tests.integration.http.conftest import MakeFront
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.submits import JOBS, soon, submit
from tests.support.waiting import eventually


def test_a_submit_answers_with_the_job_and_where_it_is(client: FlaskClient) -> None:
    response = submit(client, metadata={"who": "me"}, priority=2, deadline_s=60)

    job = response.json
    assert response.status_code == 202
    assert response.headers["Location"] == f"{JOBS}/{job['id']}"
    assert int(response.headers["Retry-After"]) >= 1
    assert job["object"] == "job"
    assert job["status"] == "queued"
    assert job["metadata"] == {"who": "me"}
    assert job["priority"] == 2
    assert job["queue_position"] == 1
    assert job["model"] == "tiny"
    assert job["model_version"] == 1
    assert 59 < job["deadline_at"] - job["created_at"] < 61
    assert client.get(response.headers["Location"]).json["id"] == job["id"]  # type: ignore[index]


def test_a_job_stores_its_input_as_the_model_takes_it(
    client: FlaskClient, worker: HandWorker
) -> None:
    submit(client, input="hello", parameters={"stop": ["."], "temperature": 1})

    claim = worker.claim()

    assert claim.input == {"messages": [{"role": "user", "content": "hello"}]}
    assert claim.parameters == {
        "max_tokens": 256, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": None,
        "stop": ["."],
        "json_schema": None,
    }  # fmt: skip


def test_a_completed_job_has_a_result(client: FlaskClient, worker: HandWorker) -> None:
    job_id = submit(client).json["id"]
    worker.finish(worker.claim())

    result = client.get(f"{JOBS}/{job_id}/result")

    assert result.status_code == 200
    assert result.json is not None
    assert result.json["output"] == {"text": "Paris.", "finish_reason": "stop"}
    assert result.json["usage"] == USAGE


def test_the_result_of_an_unfinished_job_is_202_with_the_job(client: FlaskClient) -> None:
    job_id = submit(client).json["id"]

    response = client.get(f"{JOBS}/{job_id}/result")

    assert response.status_code == 202
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json is not None
    assert response.json["status"] == "queued"


def test_a_job_that_ended_without_a_result_is_410_with_the_cause(
    client: FlaskClient, worker: HandWorker
) -> None:
    job_id = submit(client).json["id"]
    error = EngineError("the engine tripped")
    error.retryable = False
    worker.fail(worker.claim(), error)

    response = client.get(f"{JOBS}/{job_id}/result")

    assert response.status_code == 410
    assert response.json is not None
    assert response.json["code"] == "no_result"
    assert "the engine tripped" in response.json["detail"]


def test_a_job_whose_record_has_gone_is_410(make_front: MakeFront) -> None:
    client = make_front(result_ttl_s="1").app.test_client()
    job_id = submit(client).json["id"]
    client.post(f"{JOBS}/{job_id}/cancel")

    eventually(lambda: client.get(f"{JOBS}/{job_id}").status_code == 410)

    assert client.get(f"{JOBS}/{job_id}").json["code"] == "job_gone"  # type: ignore[index]
    assert client.get(f"{JOBS}/{job_id}/result").json["code"] == "job_gone"  # type: ignore[index]


def test_a_submit_that_prefers_to_wait_answers_when_the_job_ends(
    client: FlaskClient, worker: HandWorker
) -> None:
    def work() -> None:
        eventually(lambda: client.get(JOBS).json["data"])  # type: ignore[index]
        claim = worker.claim()
        worker.say(claim, "Par", "is.")
        worker.finish(claim)

    thread = soon(work)
    response = submit(client, headers={"Prefer": "respond-async, wait=20"})
    thread.join()

    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.headers["Retry-After"] == "0"
    assert response.json["status"] == "completed"
    assert response.json["output"]["text"] == "Paris."


def test_a_wait_that_is_too_short_answers_202(client: FlaskClient) -> None:
    began_s = time.monotonic()

    response = submit(client, headers={"Prefer": "wait=1"})

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=1"
    assert 0.9 < time.monotonic() - began_s < 5


@pytest.mark.parametrize("prefer", ["wait=soon", "wait", "wait=-1", "respond-async", ", ,;"])
def test_a_preference_that_says_nothing_is_ignored(client: FlaskClient, prefer: str) -> None:
    response = submit(client, headers={"Prefer": prefer})

    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("suffix", ["", "/result"])
@pytest.mark.parametrize(
    ("query", "headers"), [("?wait=20", {}), ("?wait=20.0", {}), ("", {"Prefer": 'wait="20"'})]
)
def test_a_long_poll_answers_when_the_job_ends(
    client: FlaskClient, worker: HandWorker, suffix: str, query: str, headers: dict[str, str]
) -> None:
    job_id = submit(client).json["id"]
    claim = worker.claim()
    thread = soon(lambda: worker.finish(claim))

    began_s = time.monotonic()
    response = client.get(f"{JOBS}/{job_id}{suffix}{query}", headers=headers)
    thread.join()

    assert time.monotonic() - began_s < 10
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["output"]["text"] == "Paris."


def test_one_key_and_one_body_are_one_job(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = submit(client, headers=headers)
    reordered = b' {"input" : "hello", "model": "tiny"} '

    second = client.post(JOBS, data=reordered, content_type="application/json", headers=headers)

    assert second.status_code == 202
    assert second.json is not None
    assert second.json["id"] == first.json["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


def test_one_key_with_another_body_is_a_conflict(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    submit(client, headers=headers)

    other = client.post(JOBS, json={"model": "tiny", "input": "other"}, headers=headers)

    assert other.status_code == 422
    assert other.json is not None
    assert other.json["code"] == "idempotency_conflict"


def test_a_key_outlives_its_job_and_never_runs_it_again(make_front: MakeFront) -> None:
    client = make_front(result_ttl_s="1").app.test_client()
    headers = {"Idempotency-Key": "k-1"}
    job_id = submit(client, headers=headers).json["id"]
    client.post(f"{JOBS}/{job_id}/cancel")
    eventually(lambda: client.get(f"{JOBS}/{job_id}").status_code == 410)

    again = client.post(JOBS, json={"model": "tiny", "input": "hello"}, headers=headers)

    assert again.status_code == 410
    assert again.json is not None
    assert again.json["code"] == "job_gone"


def test_a_hundred_submits_at_once_with_one_key_are_one_job(front: LocalFront) -> None:
    ids: set[str] = set()

    def send() -> None:
        response = submit(front.app.test_client(), headers={"Idempotency-Key": "same"})
        ids.add(response.json["id"])

    threads = [soon(send) for _ in range(100)]
    for thread in threads:
        thread.join()

    assert len(ids) == 1


def test_an_equal_deterministic_request_is_answered_from_the_cache(
    client: FlaskClient, worker: HandWorker
) -> None:
    submit(client)
    worker.finish(worker.claim())

    again = submit(client, headers={"Prefer": "wait=20"})
    plain = submit(client)
    fresh = submit(client, cache=False)

    assert again.status_code == 200
    assert again.json["cached"]
    assert plain.status_code == 202  # 200 is for those who asked to wait
    assert plain.json["status"] == "completed"
    assert fresh.json["status"] == "queued"
    assert not fresh.json["cached"]


def test_a_queued_job_is_cancelled_at_once(client: FlaskClient) -> None:
    job_id = submit(client).json["id"]

    response = client.post(f"{JOBS}/{job_id}/cancel")

    assert response.status_code == 202
    assert response.json is not None
    assert response.json["status"] == "cancelled"
    assert client.post(f"{JOBS}/{job_id}/cancel").json == response.json


def test_a_job_that_is_not_dead_cannot_be_redriven(client: FlaskClient) -> None:
    job_id = submit(client).json["id"]

    response = client.post(f"{JOBS}/{job_id}/redrive")

    assert response.status_code == 409
    assert response.json is not None
    assert response.json["code"] == "not_dead"


def test_a_dead_letter_is_listed_with_its_cause_and_can_be_redriven(
    client: FlaskClient, settings: Settings, tiny: ModelVersion
) -> None:
    job_id = submit(client).json["id"]
    with HandWorker(dataclasses.replace(settings, max_attempts=1), tiny) as worker:
        worker.fail(worker.claim(), EngineError("the engine tripped"))

    dead: Any = client.get("/api/v1/dead").json
    redriven = client.post(f"{JOBS}/{job_id}/redrive")

    assert [job["id"] for job in dead["data"]] == [job_id]
    assert dead["data"][0]["dead"]
    assert dead["data"][0]["error"] == {
        "code": "engine_error", "message": "the engine tripped", "retryable": True,
    }  # fmt: skip
    assert redriven.status_code == 202
    assert redriven.json is not None
    assert redriven.json["status"] == "queued"
    assert client.get("/api/v1/dead").json["data"] == []  # type: ignore[index]
