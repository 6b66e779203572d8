"""Fixtures that every layer may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from contract.settings import Settings
from contract.store import Connection
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """A command run in this process sets its logs up for good; the next test starts anew."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Valkey for all tests that only need a clean one."""
    server = RedisServer(tmp_path_factory.mktemp("valkey")).start()
    # The reaper spares leases while the server is young; most tests want it to act.
    eventually(lambda: server.client().info("server")["uptime_in_seconds"] >= 2)
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A running Valkey with nothing in it."""
    shared_redis.client().flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey that the test may kill."""
    server = RedisServer(tmp_path / "valkey").start()
    yield server
    server.stop()


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Settings for the clean Valkey."""
    return Settings.from_mapping(
        {"MILLRACE_REDIS_URL": redis_server.url, "MILLRACE_DATA_DIR": str(tmp_path / "data")}
    )


@pytest.fixture
def connection(settings: Settings) -> Connection:
    """A connection to the clean Valkey."""
    return Connection(settings.redis_url)
