"""A worker stands still past its lease, and wakes up with work in hand that is not its own now."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from contract import keys
from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Kill, settle
from tests.support.service import prompt
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)
LEASE_S = 2


def test_all_that_a_frozen_worker_writes_when_it_wakes_is_refused(
    tmp_path: Path, row: Row, full: bool
) -> None:
    lab = Lab(tmp_path, workers=2, SLOTS="4", LEASE_S=str(LEASE_S)).start()
    accepted: list[str] = []
    freezes: list[Kill] = []
    refused = 0
    try:
        for number in range(8 if full else 2):
            jobs = [
                lab.submit(prompt(f"story {number}.{n}", 900, cache=False))["id"] for n in range(8)
            ]
            accepted += jobs
            worker = lab.workers[number % 2]
            name = worker.registered(lab.store).id
            eventually(lambda: len(lab.running_on(name)) == 4, timeout_s=20)  # noqa: B023
            worker.signal(signal.SIGSTOP)
            freezes.append(Kill(at_ms=time.time() * 1000, jobs=frozenset(lab.running_on(name))))
            ended = {job: lab.finished(job) for job in jobs}
            moved = [job for job in freezes[-1].jobs if ended[job]["worker"] != name]
            assert moved
            before = {job: all_of(lab, job) for job in moved}
            worker.signal(signal.SIGCONT)
            eventually(lambda: set(moved) <= refused_by(worker), timeout_s=20)  # noqa: B023
            refused += len(moved)
            assert {job: all_of(lab, job) for job in moved} == before
        account = settle(lab, accepted, freezes, timeout_s=30)
        row(
            f"SIGSTOP of a worker past its lease of {LEASE_S} s, {len(freezes)} times", account,
            f"{refused} of {refused} late runs refused: result, events and progress unchanged",
        )  # fmt: skip
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert not lab.exits
    finally:
        for worker in lab.workers:
            worker.signal(signal.SIGCONT)
        lab.stop()


def all_of(lab: Lab, job: str) -> tuple[Any, ...]:
    """Everything that a worker may write of a job: its record and its events."""
    record = lab.store.connection.redis.hgetall(keys.JOB(job))
    return record, lab.store.read_events({job: "0-0"})[job]


def refused_by(worker: WorkerProcess) -> set[str]:
    """The jobs that a worker was told to be no longer its own."""
    lines = [line for line in worker.log.read_text().splitlines() if "job.fenced" in line]
    return {word for line in lines for word in line.replace("=", " ").split() if "job_" in word}
