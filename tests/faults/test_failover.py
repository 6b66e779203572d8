"""The primary dies under load and Sentinels make its replica the primary."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from contract.errors import StoreUnavailableError
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


class Failovers:
    """A lab on Sentinels with two fronts: one waits for a replica before a 202, one does not."""

    def __init__(self, folder: Path) -> None:
        self.group = SentinelGroup(folder / "redis")
        self.lab = Lab(folder, workers=WORKERS, redis=self.group, MIN_REPLICAS="1")
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

    def started_on(self, since_ms: float, jobs: list[str]) -> set[str]:
        """Workers that have started and finished one of ``jobs`` since then."""
        found = [job for each in jobs if (job := self._job(each)) is not None]
        return {j.worker for j in found if j.worker and (j.started_ms or 0) > since_ms}

    def _job(self, job_id: str) -> Job | None:
        try:
            job = self.lab.store.get(job_id)
        except StoreUnavailableError:
            return None
        return job if job.finished else None


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
    followed_s = [_fail_over(failovers, careful, careless) for _ in range(3 if full else 1)]
    kept, risked = careful.stop(), careless.stop()
    account = settle(failovers.lab, kept, timeout_s=60)
    other = settle(failovers.careless, risked, timeout_s=10)
    note = f"{len(followed_s)} x, followed {max(followed_s):.1f} s after the promotion"
    row("failover, MIN_REPLICAS=1", account, note)
    row("failover, MIN_REPLICAS=0", other, f"{note}; may lose")
    account.check()
    assert account.states == {"completed": len(kept)}
    assert other.finished_twice == 0
    assert other.lost + sum(other.states.values()) == other.accepted
    assert failovers.lab.exits == []
    assert before <= failovers.processes()
    assert max(followed_s) <= FOLLOW_S


def _fail_over(failovers: Failovers, careful: Clients, careless: Clients) -> float:
    """Kill the primary under load and let it return; how long the others took to follow."""
    start = len(careful.accepted)
    eventually(lambda: len(careful.accepted) > start + 100, timeout_s=60)
    old, promoted_s = failovers.group.fail_over()
    promoted_ms, count = time.time() * 1000, len(careless.accepted)
    eventually(
        lambda: len(failovers.started_on(promoted_ms, careless.accepted[count:])) == WORKERS,
        timeout_s=30,
    )
    followed_s = time.monotonic() - promoted_s
    # It still believes itself the primary: until the Sentinels tell it, it would take writes.
    old.start()
    eventually(failovers.group.complete, timeout_s=30)
    accepted = len(careful.accepted)
    eventually(lambda: len(careful.accepted) > accepted, timeout_s=20)
    return followed_s
