"""A Redis that answers but takes no write is told from one that works."""

import pytest
from structlog.testing import capture_logs

from contract import keys
from contract.errors import EngineError, QueueFullError, StoreUnavailableError
from contract.settings import Settings
from contract.store import Connection, JobStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer


def test_a_store_without_memory_is_known_to_refuse_until_it_has_room_again(
    own_redis: RedisServer,
) -> None:
    store = JobStore.connect(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    store.submit(new_job())
    assert store.is_the_known_one()
    assert not store.refuses
    own_redis.client().config_set("maxmemory", 1)
    with capture_logs() as logs:
        for _ in range(2):
            assert store.is_the_known_one()
            assert store.refuses
        with pytest.raises(StoreUnavailableError):
            store.submit(new_job())
        own_redis.client().config_set("maxmemory", 0)
        assert store.is_the_known_one()
        assert not store.refuses
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("store.refuses", "error"),
        ("store.accepts", "info"),
    ]
    assert "OOM" in logs[0]["error"]


def test_looking_whether_a_store_takes_writes_changes_nothing_in_it(own_redis: RedisServer) -> None:
    store = JobStore.connect(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    store.submit(new_job())
    before = own_redis.client().info("persistence")["rdb_changes_since_last_save"]
    assert store.is_the_known_one()
    assert own_redis.client().info("persistence")["rdb_changes_since_last_save"] == before


def test_a_full_redis_takes_no_job_of_a_client_whose_turn_has_come(own_redis: RedisServer) -> None:
    environ = {"MILLRACE_REDIS_URL": own_redis.url, "MILLRACE_MAX_BACKLOG": "1"}
    settings = Settings.from_mapping(environ)
    store, redis = JobStore.connect(settings), own_redis.client()
    worker = attempts(Connection(own_redis.url), settings)
    store.submit(new_job())
    assert finish(worker, claim(worker))  # now there is a rate, and so a turn
    waiting = store.submit(new_job()).job.id
    with pytest.raises(QueueFullError):
        store.submit(new_job(idempotency_key="mine", body_sha256="mine"))
    [turn] = redis.zrange(keys.TURNS(QUEUE), 0, -1)
    redis.zadd(keys.TURNS(QUEUE), {str(turn): 1}, xx=True)  # it is due, and its end frees memory
    store.cancel(waiting)
    redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError):
        store.submit(new_job(idempotency_key="mine", body_sha256="mine"))
    redis.config_set("maxmemory", 0)
    assert redis.zrange(keys.TURNS(QUEUE), 0, -1) == [turn]
    assert not store.submit(new_job(idempotency_key="mine", body_sha256="mine")).replayed


def test_an_attempt_may_fail_while_redis_is_full(own_redis: RedisServer) -> None:
    settings = Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url})
    store, worker = JobStore.connect(settings), attempts(Connection(own_redis.url), settings)
    store.submit(new_job())
    held = claim(worker)
    own_redis.client().config_set("maxmemory", 1)
    assert worker.fail(held, EngineError("it broke")) == "retrying"
