"""Workers are killed and frozen while clients submit; the clients' 202s are the measure."""

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support.ledger import Clients, Kill, settle
from tests.support.service import prompt
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path, workers=2, MILLRACE_SLOTS="16").start()
    yield stack
    stack.stop()


def test_workers_killed_under_load_lose_no_job_and_finish_none_twice(
    stack: Stack, row: Row, full: bool
) -> None:
    chance = random.Random(20)
    clients = Clients(stack, in_flight=200).start()
    kills: list[Kill] = []
    killed: set[int] = set()
    for _ in range(100 if full else 6):
        rows = eventually(lambda: two_live(stack, killed), timeout_s=60)
        victim = chance.choice(rows)
        eventually(partial(stack.running_on, victim["id"]), timeout_s=30)
        time.sleep(chance.random())  # the moment is random, that is the point
        os.kill(victim["pid"], signal.SIGSTOP)  # so that it claims no job behind our back
        stack.running_on(victim["id"])  # once it is answered, all that was asked before is done
        held = frozenset(stack.running_on(victim["id"]))
        os.kill(victim["pid"], signal.SIGKILL)
        killed.add(victim["pid"])
        kills.append(Kill(at_ms=time.time() * 1000, jobs=held))
    accepted = clients.stop()
    account = settle(stack, accepted, kills, timeout_s=120)
    row(f"kill -9 of a worker, {len(kills)} times", account)
    account.check()
    assert account.states == {"completed": len(accepted)}
    p50, _, most = account.gap_s
    assert p50 <= 2
    assert most <= stack.settings.lease_s + 3
    assert account.rerun <= sum(len(kill.jobs) for kill in kills)


def two_live(stack: Stack, killed: set[int]) -> list[dict[str, Any]]:
    """Both workers' rows, once neither is of a process that was killed."""
    rows = [row for row in stack.worker_rows() if row["pid"] not in killed]
    return rows if len(rows) == 2 else []


def test_a_running_generation_stops_within_a_second_of_its_cancel(stack: Stack) -> None:
    job = stack.submit(prompt("a long story", 900))["id"]
    eventually(lambda: stack.job(job)["progress"])
    cancelled = stack.http.post(f"/api/v1/jobs/{job}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "cancelled"
    log = (stack.folder / "logs").glob("worker-*.log")
    logs = list(log)
    eventually(
        lambda: any(job in line and "job.fenced" in line for f in logs for line in f.open()),
        timeout_s=1,
    )
    assert stack.job(job)["status"] == "cancelled"
