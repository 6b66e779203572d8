"""Workers and fronts whose wall clocks are off by an hour, either way."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Clients, Kill, settle
from tests.support.service import prompt
from tests.support.waiting import eventually
from tests.support.wrong_clock import build_shim, is_possible, wrong_clock

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not is_possible(), reason="a wrong clock takes a C compiler"),
]
HOUR_S = 3600


def test_nothing_depends_on_the_wall_clock_of_a_worker_or_a_front(
    tmp_path: Path, row: Row, full: bool
) -> None:
    shim = build_shim(tmp_path)
    assert _clock_of(shim, HOUR_S) - time.time() == pytest.approx(HOUR_S, abs=60)
    lab = Lab(
        tmp_path, workers=2, fronts=1, token_s=0.01, lab=wrong_clock(shim, HOUR_S), LEASE_S="3"
    ).start()
    behind = lab.add_worker(lab=wrong_clock(shim, -HOUR_S))
    right = lab.add_worker(lab=wrong_clock(shim, 0))
    extra = [behind, right]
    try:
        names = {worker.registered(lab.store).id for worker in extra}
        clients = Clients(lab, in_flight=80, body=_some_with_a_deadline).start()
        kills = []
        for _ in range(6 if full else 2):
            victim = next(w for w in lab.store.workers() if w.id not in names)
            eventually(lambda: lab.running_on(victim.id), timeout_s=30)  # noqa: B023
            kill = Kill(at_ms=time.time() * 1000, jobs=frozenset(lab.running_on(victim.id)))
            os.kill(victim.pid, signal.SIGKILL)
            kills.append(kill)
            lab.completes(100, timeout_s=30)
            eventually(lambda: len(lab.store.workers()) == 4, timeout_s=30)
        behind.signal(signal.SIGSTOP)  # past its lease
        lab.completes(100, timeout_s=30)
        frozen_s = time.monotonic() + 4
        eventually(lambda: time.monotonic() > frozen_s)
        behind.signal(signal.SIGCONT)
        accepted = clients.stop()
        account = settle(lab, accepted, kills, timeout_s=60)
        row("wall clocks an hour ahead and behind", account, f"{len(kills)} workers killed")
        account.check()
        assert set(account.states) <= {"completed", "expired"}
        assert account.gap_s[2] <= 3 + 3
        late = lab.finished(lab.submit(prompt("late", 900, deadline_s=1.5, cache=False))["id"])
        assert late["status"] == "expired"
        assert abs(late["created_at"] - time.time()) < 60  # Redis's clock
    finally:
        for worker in extra:
            worker.kill()
        lab.stop()


def _clock_of(shim: Path, off_s: int) -> float:
    command = [sys.executable, "-c", "import time; print(time.time())"]
    environment = {**os.environ, **wrong_clock(shim, off_s)}
    return float(subprocess.check_output(command, env=environment))


def _some_with_a_deadline(chance: random.Random, name: str) -> dict[str, Any]:
    more = {"deadline_s": 30.0} if chance.random() < 0.3 else {}
    return prompt(name, chance.randint(16, 120), **more)
