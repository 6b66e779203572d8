"""What the reaper tells an operator: each thing once, and a dead letter as an error."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract.queues import HintPublisher
from contract.reaper import TICK_S, Reaper
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

LEASE_S = 1.0


@pytest.fixture
def settings(own_redis: RedisServer) -> Settings:
    return Settings.from_mapping(
        {"MILLRACE_REDIS_URL": own_redis.url, "MILLRACE_LEASE_S": str(LEASE_S)}
    )


@pytest.fixture
def said(settings: Settings) -> Iterator[list[Any]]:
    """The lines of a running reaper."""
    with capture_logs() as lines:
        reaper = Reaper(
            ReapStore(Connection(settings.redis_url), settings), HintPublisher(settings)
        )
        reaper.start()
        yield lines
        reaper.stop()


def lose(worker: AttemptStore) -> None:
    """Let it take a job and say that its engine hangs."""
    worker.register(
        queues={QUEUE: {"model": "tiny", "version": 1, "digest": "0"}}, host="h", pid=1,
        device="cpu", models=[], slots=1, state="ready",
    )  # fmt: skip
    assert eventually(lambda: worker.claim([QUEUE], uuid.uuid4().hex))
    worker.abandon("engine_stalled")


def events(lines: list[Any], *names: str) -> list[tuple[str, str]]:
    return [(line["event"], line["log_level"]) for line in list(lines) if line["event"] in names]


def test_an_outage_is_said_once_with_its_reason_and_its_end_once_with_its_length(
    own_redis: RedisServer, said: list[Any]
) -> None:
    own_redis.kill()
    eventually(lambda: events(said, "redis.away"))
    with pytest.raises(AssertionError):  # many ticks later there is still one line
        eventually(lambda: len(events(said, "redis.away")) > 1, timeout_s=6 * TICK_S)
    own_redis.start()
    eventually(lambda: events(said, "redis.back"))
    away, back = [line for line in said if line["event"].startswith("redis.")]
    assert "Connection refused" in away["error"]
    assert back["away_s"] >= 5 * TICK_S


def test_a_dead_letter_is_an_error_and_the_lost_worker_has_a_cause(
    settings: Settings, said: list[Any]
) -> None:
    connection = Connection(settings.redis_url)
    job = JobStore(connection, settings).submit(new_job()).job
    for number in range(4):
        lose(AttemptStore(connection, settings, f"w{number}"))
        eventually(lambda: len(events(said, "job.lost")) == number + 1)  # noqa: B023 (called here)
    (dead,) = eventually(lambda: [line for line in list(said) if line["event"] == "job.dead"])
    assert dead == {
        "event": "job.dead", "log_level": "error", "job": job.id, "cause": "engine_stalled",
    }  # fmt: skip
    gone = eventually(lambda: [line for line in list(said) if line["event"] == "worker.lost"], 20)
    assert gone[0]["cause"] == "engine_stalled"
