"""Faults of all kinds, at random, for a long time; afterwards nothing is left behind."""

import random
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from contract import keys
from tests.faults.conftest import Row
from tests.support.chaos import Chaos
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(3600)
POISON = "poison-kill"


def any_job(chance: random.Random, name: str) -> dict[str, Any]:
    """Jobs as different as clients send them; some share an answer, some may run out of time."""
    text = f"shared {chance.randrange(50)}" if chance.random() < 0.1 else name
    if chance.random() < 0.0005:
        text = f"{POISON} {name}"
    more = {"deadline_s": chance.uniform(1, 30)} if chance.random() < 0.05 else {}
    return prompt(text, chance.randint(4, 120), priority=chance.randrange(10), **more)


@pytest.mark.xdist_group("soak")
def test_faults_of_all_kinds_lose_nothing_and_leave_nothing_behind(
    tmp_path: Path, row: Row, full: bool, pytestconfig: pytest.Config
) -> None:
    seed = pytestconfig.getoption("--seed") or random.randrange(1_000_000)
    length_s = pytestconfig.getoption("--soak-s") or (1200 if full else 15)
    print(f"seed {seed}")
    chance = random.Random(seed)
    lab = Lab(
        tmp_path, workers=3, fronts=2, token_s=0.01, lab={"LAB_POISON": "1"},
        LEASE_S="3", DRAIN_S="3",
    ).start()  # fmt: skip
    try:
        warm = Clients(lab, in_flight=80, seed=seed + 2).start()
        eventually(lambda: len(warm.accepted) > 200, timeout_s=60)
        settle(lab, warm.stop(), timeout_s=60)
        before = Residue.of(lab)
        clients = Clients(lab, in_flight=80, seed=seed, body=any_job, pause_s=0.1).start()
        cancels = Cancels(lab, clients, random.Random(seed + 1)).start()
        chaos = Chaos(lab, chance)
        end = time.monotonic() + length_s
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.5, 6))
            chaos.strike()
        cancelled = cancels.stop()
        accepted = clients.stop()
        account = settle(lab, accepted, timeout_s=180)
        faults = ", ".join(f"{kind} {n}x" for kind, n in sorted(chaos.done.items()))
        row(f"soak of {length_s:g} s, seed {seed}", account, faults)
        account.check()
        assert account.states["failed"] == 0
        dead = [job.id for job in lab.store.dead_letters(limit=1000, after=None).items]
        assert account.states["dead"] == len(dead)
        assert [job for job in dead if POISON not in input_of(lab, job)] == []
        assert {lab.store.get(job).state for job in cancelled} <= {"cancelled"}
        lab.forget_records()
        rested = time.monotonic() + 90
        while left := Residue.of(lab).excess(before, len(accepted)):
            assert time.monotonic() < rested, left
            time.sleep(1)
    finally:
        lab.stop()


def input_of(lab: Lab, job: str) -> str:
    """What the job asks, as it is stored."""
    redis: Any = lab.redis.client()
    return str(redis.get(keys.INPUT(job)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """What a Millrace at rest holds on to."""

    records: int
    leases: int
    running: int
    hints: int
    connections: int
    redis_bytes: int
    front_bytes: int

    @classmethod
    def of(cls, lab: Lab) -> "Residue":
        """As it is now."""
        redis: Any = lab.redis.client()
        queues = [queue.id for queue in lab.store.queues()]
        trees = [psutil.Process(f.pid) for f in lab.fronts]
        processes = [p for tree in trees for p in (tree, *tree.children(recursive=True))]
        found = cls(
            records=redis.zcard(keys.INDEX()),
            leases=redis.zcard(keys.LEASES()),
            running=sum(w.running for w in lab.store.workers()),
            hints=sum(redis.llen(queue) for queue in queues),
            connections=len(redis.client_list()),
            redis_bytes=redis.info("memory")["used_memory"],
            front_bytes=sum(process.memory_info().rss for process in processes),
        )
        redis.close()
        return found

    def excess(self, before: "Residue", jobs: int) -> dict[str, int]:
        """What is more than before, but for marks that a job leaves for days and warm caches."""
        allowed = replace(
            before,
            records=0,
            # Each slot of the three workers may have come to keep one of its own.
            connections=before.connections + 20 + 3 * 16,
            redis_bytes=before.redis_bytes + (4 << 20) + 600 * jobs,
            front_bytes=before.front_bytes + (64 << 20),
        )
        pairs = zip(asdict(self).items(), asdict(allowed).values(), strict=True)
        return {name: found for (name, found), limit in pairs if found > limit}


class Cancels:
    """A client that cancels a job now and then, and remembers what was answered."""

    def __init__(self, lab: Lab, clients: Clients, chance: random.Random) -> None:
        self._lab = lab
        self._clients = clients
        self._chance = chance
        self._stopped = threading.Event()
        self._cancelled: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "Cancels":
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> list[str]:
        """The jobs whose cancel was answered ``cancelled``."""
        self._stopped.set()
        self._thread.join()
        return self._cancelled

    def _run(self) -> None:
        while not self._stopped.wait(self._chance.uniform(0, 1)):
            recent = self._clients.accepted[-80:]
            if not recent:
                continue
            job = self._chance.choice(recent)
            try:
                answer = self._lab.http.post(f"/api/v1/jobs/{job}/cancel")
            except httpx.TransportError:
                continue
            if answer.is_success and answer.json()["status"] == "cancelled":
                self._cancelled.append(job)
