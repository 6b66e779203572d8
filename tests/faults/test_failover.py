"""The primary dies under load and Sentinels make its replica the primary.

The first time the replica has heard nothing for a while: what a primary promises alone is lost
with it.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from contract.errors import StoreUnavailableError, UnknownJobError
from contract.job import Job
from tests.faults.conftest import Row
from tests.support.fronts import FrontServer
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.sentinels import SentinelGroup
from tests.support.service import Service
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)
WORKERS = 2
FOLLOW_S = 10.0
DEATHS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL)
PASSWORD = "correct-horse-battery-staple"


class Failovers:
    """A lab on Sentinels with two fronts: one waits for a replica before a 202, one does not."""

    def __init__(self, folder: Path) -> None:
        self.group = SentinelGroup(folder / "redis", password=PASSWORD)
        self.lab = Lab(
            folder, workers=WORKERS, redis=self.group, token_s=0.005, MIN_REPLICAS="1", LEASE_S="4"
        )
        environment = {**self.lab.environment, "MILLRACE_MIN_REPLICAS": "0"}
        self.careless_front = FrontServer(environment, folder / "careless.log")
        self.careless = Service(self.lab.settings, [self.careless_front.url])

    def start(self) -> "Failovers":
        """Start; returns when all serve."""
        self.lab.start()
        self.careless_front.start()
        return self

    def stop(self) -> None:
        """Kill everything."""
        self.careless.close()
        self.careless_front.stop()
        self.lab.stop()

    def processes(self) -> set[int]:
        """The pids of the workers, and of the fronts' servers and what they forked."""
        fronts = [psutil.Process(f.pid) for f in (*self.lab.fronts, self.careless_front)]
        forked = {child.pid for front in fronts for child in front.children()}
        return forked | {front.pid for front in fronts} | {w.pid for w in self.lab.workers}

    def first_claims(self, since_ms: float, jobs: Sequence[str]) -> dict[str, int]:
        """For each worker the ms at which it first claimed one of ``jobs`` after ``since_ms``."""
        first: dict[str, int] = {}
        for job in self._known(jobs):
            if job.worker and job.started_ms and job.started_ms > since_ms:
                first[job.worker] = min(first.get(job.worker, job.started_ms), job.started_ms)
        return first

    def _known(self, jobs: Sequence[str]) -> Iterator[Job]:
        for job in jobs:
            with contextlib.suppress(StoreUnavailableError, UnknownJobError):
                yield self.lab.store.get(job)

    def idle(self) -> bool:
        """Whether no job that is known waits or runs."""
        queues = self.lab.store.queues()
        return not any(q.pending or q.running or q.retrying or q.following for q in queues)

    def logs(self) -> str:
        """All that was logged."""
        return "".join(path.read_text() for path in self.lab.folder.rglob("*.log"))


@pytest.fixture
def failovers(tmp_path: Path) -> Iterator[Failovers]:
    failovers = Failovers(tmp_path)
    try:
        yield failovers.start()
    finally:
        failovers.stop()


def test_a_failover_loses_no_job_that_a_replica_had_before_its_202(
    failovers: Failovers, row: Row, full: bool
) -> None:
    before = failovers.processes()
    careful = Clients(failovers.lab, in_flight=32, threads=4, seed=1).start()
    careless = Clients(failovers.careless, in_flight=32, threads=4, seed=2).start()
    followed_s = [
        _fail_over(failovers, careful, careless, how, alone=number == 0)
        for number, how in enumerate(DEATHS if full else DEATHS[:1])
    ]
    kept, risked = careful.stop(), careless.stop()
    eventually(failovers.idle, timeout_s=60)
    account = settle(failovers.lab, kept, timeout_s=10)
    other = settle(failovers.careless, risked, timeout_s=1)
    note = f"{len(followed_s)} x, followed {max(followed_s):.1f} s after the promotion"
    row("failover, MIN_REPLICAS=1", account, note)
    row("failover, MIN_REPLICAS=0", other, "the same, with no such promise")
    account.check()
    assert account.states == {"completed": len(kept)}
    assert other.lost > 0, "the primary that died knew nothing that its replica did not"
    assert "store.went_back" in failovers.logs()
    assert other.finished_twice == 0
    assert other.lost + sum(other.states.values()) == other.accepted
    assert failovers.lab.exits == []
    assert before <= failovers.processes()
    assert max(followed_s) <= FOLLOW_S
    assert PASSWORD not in failovers.logs()


def _fail_over(
    failovers: Failovers,
    careful: Clients,
    careless: Clients,
    how: signal.Signals,
    *,
    alone: bool,
) -> float:
    """Harm the primary under load and let it return; how long the others took to follow.

    ``alone`` lets the primary accept some jobs of which its replica does not hear.
    """
    _await_more(careful)
    if alone:
        failovers.group.cut_replication()
    _await_more(careless)
    old, promoted_s = failovers.group.fail_over(how)
    promoted_ms = time.time() * 1000
    running = max(len(careless.accepted) - 32, 0)
    fronts = (failovers.lab, failovers.careless)
    eventually(lambda: all(front.is_ready(WORKERS) for front in fronts), timeout_s=30)
    ready_s = time.monotonic() - promoted_s

    def claims() -> dict[str, int]:
        found = failovers.first_claims(promoted_ms, careless.accepted[running:])
        return found if len(found) == WORKERS else {}

    claimed_s = (max(eventually(claims, timeout_s=30).values()) - promoted_ms) / 1000
    # It still believes itself the primary: until the Sentinels tell it, it would take writes.
    if how is signal.SIGSTOP:
        os.kill(old.pid, signal.SIGCONT)
    else:
        old.start()
    eventually(failovers.group.complete, timeout_s=30)
    _await_more(careful)
    return max(ready_s, claimed_s)


def _await_more(clients: Clients) -> None:
    count = len(clients.accepted)
    eventually(lambda: len(clients.accepted) > count + 20, timeout_s=60)
