"""Redis loses its connections, dies, and is away, while clients submit and read."""

import os
import random
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from contract.errors import StoreUnavailableError
from contract.settings import Settings
from contract.store import JobStore
from contract.store.connection import SOCKET_TIMEOUT_S
from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.onlookers import Onlooker, Tries
from tests.support.redis_server import RedisServer
from tests.support.service import prompt

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), workers=2, fronts=2, token_s=0.01).start()
    yield lab
    lab.stop()


def test_connections_that_are_cut_again_and_again_cost_no_job_and_no_second_run(
    lab: Lab, row: Row, full: bool
) -> None:
    chance = random.Random(3)
    count = 20 if full else 5
    stories = [lab.submit(prompt(f"a story with cuts {n}", 120 * count))["id"] for n in range(4)]
    onlooker = Onlooker(lab, lab.fronts[0].url, stories).start()
    clients = Clients(lab, in_flight=60).start()
    cut, resumed_s = [], []
    for _ in range(count):
        lab.completes(20, timeout_s=30)
        time.sleep(chance.random())  # the moment is random, that is the point
        with lab.redis.client() as knife:
            cut.append(knife.client_kill_filter(skipme=True))  # of every type
        resumed_s.append(lab.completes(1, timeout_s=10))
    accepted = stories + clients.stop()
    account = settle(lab, accepted, timeout_s=60)
    onlooker.stop()
    row(
        f"all connections cut, {count} times", account,
        f"{min(cut)} to {max(cut)} at a time; went on within {max(resumed_s):.2f} s; "
        f"reads took {onlooker.slowest_s:.1f} s at most",
    )  # fmt: skip
    account.check()
    assert account.states == {"completed": len(accepted)}
    assert lab.tried_again(accepted) == []
    assert lab.exits == []
    assert onlooker.statuses == {200}
    assert onlooker.slowest_s < 10
    for story in onlooker.stories:
        story.check()


def test_redis_killed_again_and_again_loses_no_job_and_ends_no_process(
    lab: Lab, row: Row, full: bool
) -> None:
    chance = random.Random(4)
    count = 10 if full else 2
    living = pids(lab)
    stories = [lab.submit(prompt(f"a story with kills {n}", 300 * count))["id"] for n in range(4)]
    onlooker = Onlooker(lab, lab.fronts[0].url, stories).start()
    clients = Clients(lab, in_flight=60).start()
    consuming_s = []
    for _ in range(count):
        lab.completes(20, timeout_s=30)
        time.sleep(chance.random())
        lab.redis.kill()
        time.sleep(chance.random())
        lab.redis.start()
        consuming_s.append(urgent_job_s(lab))
    accepted = stories + clients.stop()
    account = settle(lab, accepted, timeout_s=60)
    onlooker.stop()
    row(
        f"kill -9 of Redis, {count} times", account,
        f"consuming after {max(consuming_s):.2f} s at most; "
        f"reads took {onlooker.slowest_s:.1f} s at most",
    )  # fmt: skip
    account.check()
    assert account.states == {"completed": len(accepted)}
    assert lab.tried_again(accepted) == []
    assert living <= pids(lab)
    assert lab.exits == []
    assert max(consuming_s) <= 5
    assert onlooker.statuses <= {200, 503}
    assert onlooker.slowest_s < 10
    for story in onlooker.stories:
        story.check()


def test_redis_away_for_long_is_said_to_clients_and_forgotten_when_it_is_back(
    lab: Lab, row: Row, full: bool
) -> None:
    away_s = 20 if full else 6
    living = pids(lab)
    stories = [lab.submit(prompt(f"a story with a gap {n}", 400))["id"] for n in range(4)]
    onlooker = Onlooker(lab, lab.fronts[0].url, stories).start()
    clients = Clients(lab, in_flight=60).start()
    lab.completes(20, timeout_s=30)
    lab.redis.kill()
    end = time.monotonic() + away_s
    tries = Tries(lab)
    while time.monotonic() < end:
        tries.submit()
        ready = lab.http.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["redis"])
        time.sleep(0.2)
    lab.redis.start()
    consuming_s = urgent_job_s(lab)
    accepted = stories + clients.stop()
    account = settle(lab, accepted, timeout_s=60)
    onlooker.stop()
    row(
        f"Redis down for {away_s} s", account,
        f"consuming after {consuming_s:.2f} s; submits refused within {tries.slowest_s:.2f} s; "
        f"reads took {onlooker.slowest_s:.1f} s at most",
    )  # fmt: skip
    account.check()
    assert account.states == {"completed": len(accepted)}
    assert lab.tried_again(accepted) == []
    assert living <= pids(lab)
    assert lab.exits == []
    assert consuming_s <= 5
    assert set(tries.answers) == {(503, "store_unavailable")}
    assert tries.slowest_s < 10
    assert onlooker.statuses == {200, 503}
    assert onlooker.slowest_s < 10
    for story in onlooker.stories:
        story.check()


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


def urgent_job_s(lab: Lab) -> float:
    """How long a job takes that is submitted now and goes before all others."""
    started_s = time.monotonic()
    job = lab.submit(prompt(f"urgent at {started_s}", 1, priority=0))
    assert lab.finished(job["id"], timeout_s=30)["status"] == "completed"
    return time.monotonic() - started_s


def pids(lab: Lab) -> set[int]:
    """The workers, the fronts, and what the fronts have forked."""
    masters = [front.pid for front in lab.fronts]
    forked = [child.pid for pid in masters for child in psutil.Process(pid).children()]
    return {*masters, *forked, *(worker.pid for worker in lab.workers)}
