"""POST /api/v1/jobs:batch against a real Valkey."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from contract.settings import Settings
from contract.store import SUBMITS_AT_ONCE
from model_store.manifest import ModelVersion
from tests.integration.http.conftest import MakeFront
from tests.support.hand_worker import HandWorker
from tests.support.problems import JOBS, pointers, problem
from tests.support.redis_server import RedisServer
from tests.support.submits import submit
from tests.support.waiting import eventually

BATCH = f"{JOBS}:batch"
LONG_PROMPT = "hello " * 500
SLOTS = 4  # of the worker that is moved by hand


def asked(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": text, **fields}


def padded(letter: str, pieces: int) -> dict[str, Any]:
    """A job that is made large by ``pieces`` of 500 letters."""
    return asked(metadata={str(n): letter * 500 for n in range(pieces)})


def send(client: FlaskClient, *jobs: Any, key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(BATCH, json={"jobs": list(jobs)}, headers=headers)


def entries(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.json["object"] == "list"
    found: list[dict[str, Any]] = response.json["data"]
    return found


def ids(response: Any) -> list[str]:
    """The jobs of an answer that refused none."""
    found = entries(response)
    assert {each["status"] for each in found} == {202}
    return [each["job"]["id"] for each in found]


def test_every_job_has_its_entry_in_its_place(client: FlaskClient) -> None:
    response = send(
        client,
        asked("one", metadata={"n": "1"}),
        {"model": "tiny"},
        asked("two", priority=0),
        {"model": "nobody", "input": "x"},
        "no object",
        asked(" "),
        asked(task="embed"),
        {"model": "tiny-embed", "input": ["a", "b"]},
    )

    found = entries(response)
    assert [each["status"] for each in found] == [202, 422, 202, 404, 422, 422, 422, 202]
    assert "Retry-After" not in response.headers
    assert found[0]["job"]["metadata"] == {"n": "1"}
    assert found[0]["job"]["status"] == "queued"
    assert not found[0]["replayed"]
    assert pointers(found[1]["error"]) == {"/jobs/1/input"}
    assert found[1]["error"]["detail"] == "job 1: /input is missing"
    assert found[1]["retry_after_s"] is None
    refused = ["invalid_request", "unknown_model", "invalid_request", "empty_prompt"]
    assert [found[n]["error"]["code"] for n in (1, 3, 4, 5)] == refused
    assert found[3]["error"]["instance"] == BATCH
    jobs = json.loads(client.get(JOBS).data)["data"]
    accepted = [each["job"]["id"] for each in found if each["status"] == 202]
    assert [job["id"] for job in jobs] == accepted[::-1]


def test_a_thousand_jobs_are_taken_and_each_free_slot_is_told_of_one(
    client: FlaskClient, worker: HandWorker, redis_server: RedisServer
) -> None:
    response = send(client, *(asked(f"number {n}") for n in range(1000)))

    found = ids(response)
    assert len(set(found)) == 1000
    redis = redis_server.client()
    eventually(lambda: redis.llen(worker.queue) >= SLOTS)
    # A hint may be under way while the next hundred are recorded, but none is sent for each job.
    assert redis.llen(worker.queue) <= 10 * SLOTS
    assert json.loads(client.get(f"{JOBS}/{found[999]}").data)["queue_position"] == 1000


@pytest.mark.parametrize("jobs", [[], [asked()] * 1001], ids=["none", "too many"])
def test_no_jobs_and_too_many_are_refused_as_a_whole(client: FlaskClient, jobs: list[Any]) -> None:
    found = problem(send(client, *jobs), 422, "invalid_request")

    assert pointers(found) == {"/jobs"}
    assert json.loads(client.get(JOBS).data)["data"] == []


@pytest.mark.parametrize("body", [[], {}, {"jobs": {}}, {"jobs": [asked()], "wait": 1}])
def test_another_body_is_refused_as_a_whole(client: FlaskClient, body: Any) -> None:
    problem(client.post(BATCH, json=body), 422, "invalid_request")


def test_what_is_not_json_is_refused_as_a_whole(client: FlaskClient) -> None:
    broken = json.dumps({"jobs": [asked(), asked()]})[:-3]

    response = client.post(BATCH, data=broken, content_type="application/json")

    problem(response, 400, "malformed_body")
    assert json.loads(client.get(JOBS).data)["data"] == []


def test_a_repeated_call_gives_the_same_jobs_and_conflicts_place_by_place(
    client: FlaskClient,
) -> None:
    first = ids(send(client, asked("a"), asked("b"), key="k"))

    again = entries(send(client, asked("a"), asked("other"), asked("c"), key="k"))

    assert [each["status"] for each in again] == [202, 422, 202]
    assert again[0]["job"]["id"] == first[0]
    assert [again[0]["replayed"], again[2]["replayed"]] == [True, False]
    assert again[1]["error"]["code"] == "idempotency_conflict"
    assert ids(send(client, asked("a"), asked("b"), asked("c"), key="k")) == [
        *first, again[2]["job"]["id"],
    ]  # fmt: skip


def test_without_a_key_a_repeated_call_makes_new_jobs(client: FlaskClient) -> None:
    jobs = [*ids(send(client, asked(), asked())), *ids(send(client, asked(), asked()))]

    assert len(set(jobs)) == 4


def test_a_key_means_other_jobs_in_a_batch_than_alone(client: FlaskClient) -> None:
    alone = submit(client, headers={"Idempotency-Key": "k"}).json["id"]

    assert ids(send(client, asked(), key="k")) != [alone]


def test_a_bad_key_is_refused_as_a_whole(client: FlaskClient) -> None:
    found = problem(send(client, asked(), key="a b"), 422, "invalid_request")

    assert pointers(found) == {"/headers/Idempotency-Key"}


def test_each_job_has_the_size_of_a_single_one_and_the_body_one_of_its_own(
    make_front: MakeFront,
) -> None:
    client = make_front(max_body_bytes="2000", max_batch_bytes="12000").app.test_client()
    small, large = padded("x", 3), padded("\u00e9", 2)  # two bytes each

    found = entries(send(client, small, large, small))

    assert [each["status"] for each in found] == [202, 413, 202]
    assert found[1]["error"]["code"] == "body_too_large"
    assert "2000 bytes" in found[1]["error"]["detail"]
    problem(send(client, *[small] * 9), 413, "body_too_large")
    assert len(json.loads(client.get(JOBS).data)["data"]) == 2


def test_what_fits_into_the_queue_is_taken_and_the_others_are_told_when_to_come_back(
    make_front: MakeFront, settings: Settings, tiny: ModelVersion
) -> None:
    client = make_front(max_backlog="3").app.test_client()
    with HandWorker(settings, tiny) as worker:
        submit(client)
        worker.finish(worker.claim())  # now the rate is known
        jobs = [asked(f"number {n}") for n in range(40)]

        with capture_logs() as said:
            response = send(client, *jobs, key="k")

        found = entries(response)
        assert [each["status"] for each in found] == [202] * 3 + [429] * 37
        waits_s = [each["retry_after_s"] for each in found[3:]]
        assert waits_s == sorted(waits_s)
        assert waits_s[0] < waits_s[-1]
        assert response.headers["Retry-After"] == str(waits_s[-1])
        [line] = [line for line in said if line["event"] == "jobs.submitted"]
        assert (line["accepted"], line["refused"]) == (3, {"queue_full": 37})
        for _ in range(3):
            worker.finish(worker.claim())
        again = entries(send(client, *jobs, key="k"))

    assert [each["job"]["id"] for each in again[:3]] == [each["job"]["id"] for each in found[:3]]
    assert [each["status"] for each in again[3:]].count(202) >= 1


def test_a_worker_that_is_required_and_not_there_is_told_of_each_job(make_front: MakeFront) -> None:
    client = make_front(require_worker="1").app.test_client()

    response = send(client, asked(), {"model": "tiny"})

    found = entries(response)
    assert [each["status"] for each in found] == [503, 422]
    assert found[0]["error"]["code"] == "no_worker"
    assert response.headers["Retry-After"] == str(found[0]["retry_after_s"])


def test_a_cached_answer_ends_its_job_and_is_read_from_it(
    client: FlaskClient, worker: HandWorker
) -> None:
    submit(client)
    worker.finish(worker.claim())

    cached, fresh = entries(send(client, asked(), asked(cache=False)))

    assert cached["status"] == 202
    assert cached["job"]["cached"]
    assert cached["job"]["status"] == "completed"
    assert cached["job"]["output"] is None
    whole = json.loads(client.get(f"{JOBS}/{cached['job']['id']}").data)
    assert whole["output"]["text"] == "Paris."
    assert fresh["job"]["status"] == "queued"


def test_without_redis_the_whole_answer_is_503_also_when_some_jobs_are_wrong(
    make_front: MakeFront, own_redis: RedisServer
) -> None:
    client = make_front(redis_url=own_redis.url).app.test_client()
    ids(send(client, asked()))
    own_redis.kill()

    response = send(client, asked(), {"model": "tiny"})

    assert problem(response, 503, "store_unavailable")["retryable"]
    assert int(response.headers["Retry-After"]) >= 1


def test_when_redis_fails_in_the_midst_what_was_recorded_stays_and_the_rest_can_be_repeated(
    make_front: MakeFront, own_redis: RedisServer
) -> None:
    client = make_front(redis_url=own_redis.url).app.test_client()
    ids(send(client, asked()))
    redis: Any = own_redis.client()
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + (2 << 20))
    jobs = [padded("x", 16) for _ in range(400)]

    response = send(client, *jobs, key="k")
    redis.config_set("maxmemory", 0)
    again = send(client, *jobs, key="k")

    found = entries(response)
    statuses = [each["status"] for each in found]
    hundred = statuses.index(503) // SUBMITS_AT_ONCE  # in which Redis was full for the first time
    assert statuses[: hundred * SUBMITS_AT_ONCE] == [202] * hundred * SUBMITS_AT_ONCE
    assert set(statuses[(hundred + 1) * SUBMITS_AT_ONCE :]) == {503}
    assert statuses.count(202) > 10
    refused = [each for each in found if each["status"] == 503]
    assert {each["error"]["code"] for each in refused} == {"store_unavailable"}
    assert response.headers["Retry-After"] == str(refused[-1]["retry_after_s"])
    assert len(set(ids(again))) == 400
    replayed = [each["job"]["id"] for each in entries(again) if each["replayed"]]
    assert replayed == [each["job"]["id"] for each in found if each["status"] == 202]


def test_too_few_replicas_are_told_as_a_whole(make_front: MakeFront) -> None:
    client = make_front(min_replicas="1").app.test_client()

    found = problem(send(client, asked(), key="k"), 503, "not_replicated")

    assert "Idempotency-Key" in found["detail"]


def test_a_prompt_that_is_too_long_is_counted_and_refused_in_its_place(client: FlaskClient) -> None:
    found = entries(send(client, asked(), asked(LONG_PROMPT), asked()))

    assert [each["status"] for each in found] == [202, 422, 202]
    assert found[1]["error"]["code"] == "prompt_too_long"
    assert pointers(found[1]["error"]) == {"/jobs/1/input"}
