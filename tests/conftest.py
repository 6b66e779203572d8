"""Fixtures that every layer may use."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from contract.settings import Settings
from contract.store import Connection
from tests.support.fault_table import PROPERTY, as_markdown
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the full length of the fault tests."""
    parser.addoption("--full", action="store_true", help="run the fault tests at full length")
    parser.addoption("--rows", type=Path, help="file of rows, which this run continues")
    parser.addoption("--soak-s", type=float, help="length of the soak, if not that of the run")
    parser.addoption("--seed", type=int, help="seed of the soak; drawn and printed if not given")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the test that has a process to itself: it is as long as all others together."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what the fault tests counted, as one table."""
    if hasattr(config, "workerinput"):
        return  # one of several processes, whose reports reach the one that started them
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    kept: Path | None = config.getoption("--rows")
    if kept is not None:
        rows = (json.loads(kept.read_text()) if kept.exists() else []) + rows
        kept.write_text(json.dumps(rows))
    if rows:
        terminalreporter.section("accepted = completed + failed + cancelled + expired + dead")
        for line in as_markdown(sorted(rows, key=lambda row: str(row["fault"]))):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """A command run in this process sets its logs up for good; the next test starts anew.

    So does the import of a front's configuration, which comes before the first test.
    """
    structlog.reset_defaults()
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
    shared_redis.empty()
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
        {
            "MILLRACE_REDIS_URL": redis_server.url,
            "MILLRACE_DATA_DIR": str(tmp_path / "data"),
            "MILLRACE_SLOTS": "32",
        }
    )


@pytest.fixture
def connection(settings: Settings) -> Connection:
    """A connection to the clean Valkey."""
    return Connection(settings.redis_url)
