"""A store that lost its jobs is noticed and said, and never passed off as an empty one."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contract import keys
from contract.errors import StoreReplacedError, UnknownJobError
from contract.job import JobState
from contract.settings import Settings
from contract.store import Connection, JobStore, ReapStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.attempts import attempts, claim, finish
from tests.support.fronts import FrontServer
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer

JOBS = "/api/v1/jobs"
BODY = {"model": "tiny", "input": "hello"}


@pytest.fixture
def settings(own_redis: RedisServer) -> Settings:
    return Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url})


def empty(redis: RedisServer) -> None:
    redis.client().flushall()


def lose_disk(redis: RedisServer) -> None:
    redis.kill()
    redis.lose_disk()
    redis.start()


LOSSES = pytest.mark.parametrize("lose", [empty, lose_disk])


@LOSSES
def test_a_store_that_lost_its_jobs_accepts_none_and_denies_none(
    lose: Callable[[RedisServer], None], own_redis: RedisServer, store: JobStore
) -> None:
    job = store.submit(new_job()).job
    lose(own_redis)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(StoreReplacedError) as refused:
                store.submit(new_job())
            with pytest.raises(StoreReplacedError):
                store.get(job.id)
            assert not store.is_the_known_one()
    assert refused.value.retryable
    assert [(line["event"], line["log_level"]) for line in logs] == [("store.replaced", "error")]
    assert own_redis.client().keys() == []


@LOSSES
def test_only_a_process_that_never_knew_the_store_begins_a_new_one(
    lose: Callable[[RedisServer], None],
    own_redis: RedisServer,
    store: JobStore,
    settings: Settings,
) -> None:
    store.submit(new_job())
    lose(own_redis)
    restarted = JobStore.connect(settings)
    assert restarted.is_the_known_one()
    job = restarted.submit(new_job()).job
    assert restarted.get(job.id).state is JobState.QUEUED
    with pytest.raises(StoreReplacedError):
        store.submit(new_job())
    assert store.get(job.id).id == job.id


def test_a_restart_with_the_append_only_file_alarms_nobody(
    own_redis: RedisServer, store: JobStore, reaper: ReapStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(20)]
    with capture_logs() as logs:
        own_redis.kill()
        own_redis.start()
        assert store.is_the_known_one()
        reaper.reap()
        store.submit(new_job())
    assert [store.get(job).state for job in jobs] == [JobState.QUEUED] * 20
    assert [line for line in logs if line["event"].startswith("store.")] == []


def test_the_right_data_put_back_is_the_known_store_again(
    own_redis: RedisServer, store: JobStore
) -> None:
    job = store.submit(new_job()).job
    own_redis.stop()
    kept = own_redis.folder / "appendonlydir"
    kept.rename(own_redis.folder / "backup")
    own_redis.start()
    assert not store.is_the_known_one()
    own_redis.stop()
    own_redis.lose_disk()
    (own_redis.folder / "backup").rename(kept)
    own_redis.start()
    with capture_logs() as logs:
        assert store.get(job.id).state is JobState.QUEUED
        assert store.submit(new_job()).job.state is JobState.QUEUED
    assert [line["event"] for line in logs] == ["store.restored"]


def test_a_store_that_forgot_its_last_jobs_says_once_how_many(
    own_redis: RedisServer, store: JobStore, reaper: ReapStore
) -> None:
    for _ in range(5):
        store.submit(new_job())
    own_redis.client().decr(keys.SEQUENCE(), 3)
    with capture_logs() as logs:
        for _ in range(2):
            reaper.reap()
    store.submit(new_job())
    told = [(line["event"], line["lost"], line["log_level"]) for line in logs]
    assert told == [("store.went_back", 3, "error")]


def test_concurrent_submits_and_looks_never_alarm(store: JobStore, settings: Settings) -> None:
    looker = ReapStore(store.connection, settings)
    with capture_logs() as logs:
        threads = [
            threading.Thread(target=lambda: [store.submit(new_job()) for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            looker.reap()
        for thread in threads:
            thread.join()
    assert logs == []
    assert store.connection.identity.seen.sequence == 400


def test_an_answer_from_before_there_was_an_id_alarms_nobody(store: JobStore) -> None:
    identity = store.connection.identity
    before = identity.seen
    store.submit(new_job())
    with capture_logs() as logs:
        assert identity.note(before, "", 0)
    assert logs == []


def test_a_worker_is_fenced_registers_anew_and_serves_the_next_store(
    own_redis: RedisServer, store: JobStore, settings: Settings
) -> None:
    worker = attempts(Connection(settings.redis_url), settings)
    store.submit(new_job())
    held = claim(worker)
    empty(own_redis)
    registered, lost = worker.beat(
        state="ready", queues=[QUEUE], held=[(held.job_id, held.attempt)]
    )
    assert (registered, lost) == (False, {held.job_id})
    assert not finish(worker, held)
    worker = attempts(Connection(settings.redis_url), settings)
    again = JobStore.connect(settings)
    job = again.submit(new_job()).job
    assert finish(worker, claim(worker))
    assert again.get(job.id).state is JobState.COMPLETED


@pytest.fixture
def front(own_redis: RedisServer, tmp_path: Path) -> Iterator[FrontServer]:
    models = ModelStore(tmp_path / "models")
    write_tiny_llama(models)
    environ = {
        "MILLRACE_REDIS_URL": own_redis.url,
        "MILLRACE_MODELS_DIR": str(models.root),
        "MILLRACE_LOG_FORMAT": "json",
    }
    server = FrontServer(environ, tmp_path / "front.log").start()
    yield server
    server.stop()


@LOSSES
def test_a_front_whose_store_lost_its_jobs_is_red_until_it_is_restarted(
    lose: Callable[[RedisServer], None], own_redis: RedisServer, front: FrontServer
) -> None:
    with front.client() as client:
        job = client.post(JOBS, json=BODY).raise_for_status().json()["id"]
        lose(own_redis)
        refused = client.post(JOBS, json=BODY)
        read = client.get(f"{JOBS}/{job}")
        for answer in (refused, read, client.get(f"{JOBS}/{job}/events")):
            assert (answer.status_code, answer.json()["code"]) == (503, "store_replaced")
            assert answer.json()["retryable"]
            assert int(answer.headers["Retry-After"]) > 0
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["jobs", "worker"])
        assert "lost its jobs" in client.get("/").text
        assert client.get("/healthz").is_success
        log = [json.loads(line) for line in front.log.read_text().splitlines()]
        assert [line["level"] for line in log if line["event"] == "store.replaced"] == ["error"]
    front.stop()
    front.start()
    with front.client() as client:
        assert client.get("/readyz").json()["missing"] == ["worker"]
        assert client.post(JOBS, json=BODY).status_code == 202
        assert client.get(f"{JOBS}/{job}").status_code == 404


def test_an_unknown_job_of_the_known_store_is_unknown(store: JobStore) -> None:
    store.submit(new_job())
    with pytest.raises(UnknownJobError):
        store.get("job_of_nobody")


def test_the_reaper_alone_notices(
    own_redis: RedisServer, store: JobStore, settings: Settings
) -> None:
    store.submit(new_job())
    reaper = ReapStore(store.connection, replace(settings, lease_s=1))
    empty(own_redis)
    with capture_logs() as logs:
        reaper.reap()
    assert [line["event"] for line in logs] == ["store.replaced"]
