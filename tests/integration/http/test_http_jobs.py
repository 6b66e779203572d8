"""Submit, read, wait for, list, cancel and redrive, against a real Valkey."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from contract import keys
from contract.errors import EngineError
from contract.settings import Settings
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.integration.http.conftest import MakeFront
from tests.support.fronts import LocalFront
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

JOBS = "/api/v1/jobs"
LISTS = ("models", "workers", "queues")


def submit(client: FlaskClient, /, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"model": "tiny", "input": "hello", **fields}
    response = client.post(JOBS, json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    return response


def soon(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


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


def test_jobs_are_listed_newest_first_in_pages(client: FlaskClient) -> None:
    ids = [submit(client, input=f"number {n}").json["id"] for n in range(5)]

    first: Any = client.get(f"{JOBS}?limit=3").json
    rest: Any = client.get(f"{JOBS}?limit=3&after={first['data'][-1]['id']}").json

    assert [job["id"] for job in first["data"]] == ids[:1:-1]
    assert first["has_more"]
    assert [job["id"] for job in rest["data"]] == ids[1::-1]
    assert not rest["has_more"]


def test_lists_are_filtered_and_leave_outputs_out(client: FlaskClient, worker: HandWorker) -> None:
    submit(client, input="one")
    submit(client, input="two")
    worker.finish(worker.claim())

    done: Any = client.get(f"{JOBS}?status=completed&model=tiny").json
    none: Any = client.get(f"{JOBS}?model=other").json

    assert [job["status"] for job in done["data"]] == ["completed"]
    assert done["data"][0]["output"] is None
    assert none["data"] == []


def test_models_say_who_serves_them(
    client: FlaskClient, worker: HandWorker, tiny: ModelVersion
) -> None:
    listed: Any = client.get("/api/v1/models").json

    model = next(each for each in listed["data"] if each["id"] == "tiny")
    assert model["versions"] == [1]
    assert model["aliases"] == {"production": 1}
    assert model["task"] == "generate"
    assert model["digest"] == tiny.digest
    assert model["context_length"] == 1024
    assert model["workers"] == 1


def test_workers_and_queues_are_listed(client: FlaskClient, worker: HandWorker) -> None:
    submit(client)
    worker.claim()

    workers: Any = client.get("/api/v1/workers").json
    queues: Any = client.get("/api/v1/queues").json

    assert [(each["id"], each["slots"], each["running"]) for each in workers["data"]] == [
        ("hand-worker-tiny", 4, 1)
    ]
    assert [(each["model"], each["running"], each["workers"]) for each in queues["data"]] == [
        ("tiny", 1, 1)
    ]


def test_a_submit_follows_the_alias_and_the_job_keeps_its_version(
    client: FlaskClient, models: ModelStore
) -> None:
    for ref in ("tiny", "tiny:1", "tiny@production"):
        assert submit(client, model=ref).json["model_version"] == 1


def test_the_page_lists_models_workers_and_queues(client: FlaskClient, worker: HandWorker) -> None:
    submit(client)
    rows = [row for name in LISTS for row in client.get(f"/api/v1/{name}").get_json()["data"]]

    page = client.get("/")

    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    assert len(rows) >= len(LISTS)
    assert all(row["id"] in page.text for row in rows)


def test_the_page_says_that_no_worker_lives(client: FlaskClient) -> None:
    assert "no worker lives" in client.get("/").text


def test_readiness_names_what_is_missing(client: FlaskClient, worker: HandWorker) -> None:
    assert client.get("/readyz").json == {"status": "ready", "missing": []}


def test_readiness_without_a_worker_is_503(client: FlaskClient) -> None:
    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "unavailable", "missing": ["worker"]}
    assert int(response.headers["Retry-After"]) > 0


def test_without_redis_nothing_is_accepted(own_redis: RedisServer, make_front: MakeFront) -> None:
    client = make_front(redis_url=own_redis.url).app.test_client()
    job_id = submit(client).json["id"]
    own_redis.kill()

    refused = client.post(JOBS, json={"model": "tiny", "input": "x"})

    assert refused.status_code == 503
    assert refused.json is not None
    assert refused.json["code"] == "store_unavailable"
    assert refused.json["retryable"]
    assert int(refused.headers["Retry-After"]) >= 1
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/events", JOBS, "/api/v1/models"):
        assert client.get(path).status_code == 503
    assert client.get("/readyz").json == {"status": "unavailable", "missing": ["redis"]}
    assert client.get("/healthz").status_code == 200
    own_redis.start()
    assert submit(client).status_code == 202
    assert client.get(f"{JOBS}/{job_id}").status_code == 200


def test_a_submit_that_waits_is_still_accepted_when_redis_goes_away(
    own_redis: RedisServer, make_front: MakeFront
) -> None:
    client = make_front(redis_url=own_redis.url).app.test_client()
    reader = own_redis.client()

    def kill_when_someone_waits() -> None:
        eventually(lambda: reader.pubsub_numsub(keys.WAKE())[0][1])
        own_redis.kill()

    thread = soon(kill_when_someone_waits)
    response = client.post(
        JOBS, json={"model": "tiny", "input": "x"}, headers={"Prefer": "wait=10"}
    )
    thread.join()

    assert response.status_code == 202
    own_redis.start()
    assert response.json is not None
    assert client.get(response.headers["Location"]).json["id"] == response.json["id"]  # type: ignore[index]
