"""Redis loses its connections, dies, and is away, while clients submit and read."""

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from contract.errors import StoreUnavailableError
from contract.settings import Settings
from contract.store import JobStore
from contract.store.connection import SOCKET_TIMEOUT_S
from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.load import Load
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), workers=2, fronts=2, token_s=0.01)
    try:
        yield lab.start()
    finally:
        lab.stop()


def test_connections_that_are_cut_again_and_again_cost_no_job_and_no_second_run(
    lab: Lab, row: Row, full: bool
) -> None:
    chance = random.Random(3)
    count = 20 if full else 5
    load = Load(lab, "cuts", story_tokens=120 * count).start()
    cut, resumed_s = [], []
    for _ in range(count):
        time.sleep(chance.random())  # the moment is random, that is the point
        with lab.redis.client() as knife:
            cut.append(knife.client_kill_filter(skipme=True))  # of every type
        resumed_s.append(lab.completes(1, timeout_s=10))
        lab.completes(20, timeout_s=30)
    account = load.end()
    row(
        f"all connections cut, {count} times", account,
        f"{min(cut)} to {max(cut)} at a time; went on within {max(resumed_s):.2f} s; {load.waits}",
    )  # fmt: skip
    load.check(account)
    assert min(cut) > 10


def test_redis_killed_again_and_again_loses_no_job_and_ends_no_process(
    lab: Lab, row: Row, full: bool
) -> None:
    chance = random.Random(4)
    count = 10 if full else 2
    load = Load(lab, "kills", story_tokens=300 * count).start()
    consuming_s = []
    for _ in range(count):
        time.sleep(chance.random())
        lab.redis.kill()
        time.sleep(chance.random())
        lab.redis.start()
        consuming_s.append(load.urgent_job_s())
        lab.completes(20, timeout_s=30)
    account = load.end()
    row(
        f"kill -9 of Redis, {count} times", account,
        f"consuming after {max(consuming_s):.2f} s at most; {load.waits}",
    )  # fmt: skip
    load.check(account)
    assert max(consuming_s) <= 5


def test_redis_away_for_long_is_said_to_clients_and_forgotten_when_it_is_back(
    lab: Lab, row: Row, full: bool
) -> None:
    away_s = 20 if full else 6
    load = Load(lab, "a gap", story_tokens=400).start()
    lab.redis.kill()
    end = time.monotonic() + away_s
    while time.monotonic() < end:
        assert load.tries.submit() == 503
        ready = lab.http.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["redis"])
        time.sleep(0.2)
    lab.redis.start()
    consuming_s = load.urgent_job_s()
    account = load.end()
    row(
        f"Redis down for {away_s} s", account,
        f"consuming after {consuming_s:.2f} s; {load.waits}",
    )  # fmt: skip
    load.check(account)
    assert consuming_s <= 5


def test_a_redis_that_stands_still_is_an_error_after_one_time_out(own_redis: RedisServer) -> None:
    store = JobStore.connect(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    store.ping()
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            store.ping()
        assert time.monotonic() - started_s < 2 * SOCKET_TIMEOUT_S
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
