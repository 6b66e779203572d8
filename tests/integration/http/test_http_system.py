"""Lists, the page at /, readiness, and the front without its Redis."""

from typing import Any

from flask.testing import FlaskClient

from contract import keys
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.integration.http.conftest import MakeFront
from tests.support.hand_worker import HandWorker
from tests.support.redis_server import RedisServer
from tests.support.submits import JOBS, soon, submit
from tests.support.waiting import eventually

LISTS = ("models", "workers", "queues")


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
