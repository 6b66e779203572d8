"""A Redis that answers but takes no write is told from one that works."""

import pytest
from structlog.testing import capture_logs

from contract.errors import StoreUnavailableError
from contract.settings import Settings
from contract.store import JobStore
from tests.support.jobs import new_job
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
