"""Jobs that do harm, submitted among many that do none."""

import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faults.conftest import Row
from tests.support.harm import losses_of, toll
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.memory_group import MemoryGroup, missing
from tests.support.service import prompt
from tests.support.waiting import eventually
from workers.health import EXIT_UNFIT

pytestmark = pytest.mark.timeout(240)
POISONED = {"LAB_POISON": "1"}
MOST_WORKERS = 4
MOST_WORKERS_AMID_OTHER_LOSSES = 8
MOST_RERUNS = 2
MEMORY_BYTES = 512 << 20  # of one worker, which takes a quarter of it
#: 1.5 GiB of address space, half of which a worker takes; fewer arenas keep it from more.
LIMITED = ["env", "MALLOC_ARENA_MAX=2", "prlimit", f"--as={3 << 29}"]


def test_a_job_that_kills_its_process_is_buried_and_completes_when_redriven_where_it_is_harmless(
    tmp_path: Path, row: Row
) -> None:
    lab = Lab(tmp_path, workers=2, lab=POISONED).start()
    try:
        clients = busy(lab)
        poison = lab.submit(prompt("poison-kill", 200))["id"]
        dead = lab.finished(poison, timeout_s=90)
        innocent = clients.stop()
        done = toll(lab, [poison], innocent, timeout_s=60)
        row("poison that kills its process, tiny model", done.account, done.note)
        done.account.check()
        assert done.account.states == {"completed": len(innocent), "dead": 1}
        assert done.most_losses <= MOST_WORKERS
        assert done.most_reruns <= MOST_RERUNS
        assert_buried(lab, dead, "worker_disconnected")

        lab.lab["LAB_POISON"] = "0"
        replace_workers(lab)
        assert lab.http.post(f"/api/v1/jobs/{poison}/redrive").status_code == 202
        assert lab.finished(poison)["status"] == "completed"
        again = settle(lab, [poison], timeout_s=5, lives=2)
        again.check()
        assert again.most_reruns == 0
    finally:
        lab.stop()


def test_different_poisons_at_once_and_identical_copies_are_all_buried(
    tmp_path: Path, row: Row, full: bool
) -> None:
    if not full:
        pytest.skip("at full length only")
    lab = Lab(tmp_path, workers=3, token_s=0.01, lab=POISONED, STALL_S="4").start()
    try:
        clients = busy(lab)
        causes = {
            "poison-hang": "engine_stalled",
            "poison-error": "engine_failed",
            "poison-kill": "worker_disconnected",
        }
        poisons = {lab.submit(prompt(word, 200))["id"]: causes[word] for word in causes}
        copies = [lab.submit(prompt("poison-kill", 200))["id"] for _ in range(3)]
        dead = [lab.finished(job, timeout_s=120) for job in [*poisons, *copies]]
        innocent = clients.stop()
        harmful = [*poisons, *copies]
        done = toll(lab, harmful, innocent, timeout_s=60)
        row("poisons of three kinds at once, one with 3 copies", done.account, done.note)
        done.account.check()
        assert done.account.states == {"completed": len(innocent), "dead": len(harmful)}
        assert done.most_losses <= MOST_WORKERS_AMID_OTHER_LOSSES
        assert done.most_reruns <= MOST_RERUNS
        for job, cause in zip(dead, poisons.values(), strict=False):
            assert_buried(lab, job, cause)
        # All copies together cost one worker more.
        assert sum(len(losses_of(lab, job)) for job in copies) == 1
    finally:
        lab.stop()


def test_a_poison_among_random_kills_buries_no_innocent(
    tmp_path: Path, row: Row, full: bool
) -> None:
    chance = random.Random(7)
    lab = Lab(tmp_path, workers=3, token_s=0.01, lab=POISONED).start()
    try:
        clients = busy(lab)
        poison = lab.submit(prompt("poison-kill", 200))["id"]
        for _ in range(15 if full else 2):
            eventually(lambda: {w.pid for w in lab.workers} <= serving(lab), timeout_s=60)
            time.sleep(chance.random())  # the moment is random, that is the point
            chance.choice(lab.workers).kill()
        lab.finished(poison, timeout_s=90)
        innocent = clients.stop()
        done = toll(lab, [poison], innocent, timeout_s=60)
        row("poison that kills its process among random kills", done.account, done.note)
        done.account.check()
        assert done.account.states == {"completed": len(innocent), "dead": 1}
        assert done.most_losses <= MOST_WORKERS_AMID_OTHER_LOSSES
    finally:
        lab.stop()


def test_a_job_that_exhausts_the_address_space_fails_its_engine_and_is_buried(
    tmp_path: Path, row: Row
) -> None:
    lab = Lab(tmp_path, workers=2, token_s=0.01, lab=POISONED, prefix=LIMITED).start()
    try:
        # Whichever thread asks for memory next is the one that fails.
        causes = ("engine_failed", "worker_failed")
        bury_one(lab, row, "memory", "memory up to RLIMIT_AS", *causes)
        assert set(lab.exits) == {EXIT_UNFIT}
    finally:
        lab.stop()


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_job_that_exhausts_the_memory_of_its_cgroup_is_buried(
    tmp_path: Path, row: Row, full: bool
) -> None:
    if not full:
        pytest.skip("at full length only")
    group = MemoryGroup(MEMORY_BYTES)
    lab = Lab(tmp_path, workers=2, token_s=0.01, lab=POISONED, prefix=group.prefix).start()
    try:
        bury_one(lab, row, "memory", "memory up to the OOM killer", "worker_disconnected")
        assert set(lab.exits) == {-signal.SIGKILL}
    finally:
        lab.stop()
        group.remove()


def bury_one(lab: Lab, row: Row, word: str, fault: str, *causes: str) -> None:
    """Submit one poison among innocents, and check what is promised."""
    clients = busy(lab)
    poison = lab.submit(prompt(f"poison-{word}", 200))["id"]
    dead = lab.finished(poison, timeout_s=90)
    innocent = clients.stop()
    done = toll(lab, [poison], innocent, timeout_s=60)
    row(f"poison: {fault}", done.account, done.note)
    done.account.check()
    assert done.account.states == {"completed": len(innocent), "dead": 1}
    assert done.most_losses <= MOST_WORKERS
    assert done.most_reruns <= MOST_RERUNS
    assert_buried(lab, dead, *causes)


def busy(lab: Lab) -> Clients:
    """Clients whose jobs run everywhere by now."""
    clients = Clients(lab, in_flight=60).start()
    eventually(lambda: len(clients.accepted) > 80, timeout_s=60)
    return clients


def assert_buried(lab: Lab, dead: Mapping[str, object], *causes: str) -> None:
    """The dead letter names its cause, as do both runs in which it was alone."""
    error = dead["error"]
    assert isinstance(error, Mapping)
    assert error["code"] == "poisoned"
    assert error["message"].endswith(tuple(f"cause {cause}" for cause in causes))
    alone = losses_of(lab, str(dead["id"]))[2:]
    assert {loss.cause for loss in alone} <= {*causes, None}


def serving(lab: Lab) -> set[int]:
    """The processes that are listed as workers."""
    return {row["pid"] for row in lab.worker_rows()}


def replace_workers(lab: Lab) -> None:
    """Let every worker end in order; returns when the new ones are there."""
    old = list(lab.workers)
    for worker in old:
        worker.signal(signal.SIGTERM)
    eventually(lambda: not any(worker.alive for worker in old), timeout_s=30)
    eventually(lambda: lab.is_ready(len(old)), timeout_s=60)
