"""A worker is cut from Redis by a network that drops every packet and closes no socket."""

import random
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support import network
from tests.support.lab import Lab
from tests.support.ledger import Clients, Kill, settle
from tests.support.redis_server import RedisServer
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not network.is_possible(), reason="making a network namespace takes root"),
]
TOKEN_S = 0.02


def test_a_worker_that_is_cut_off_stops_and_its_jobs_run_elsewhere(
    tmp_path: Path, row: Row, full: bool
) -> None:
    cut_s, lease_s = (60, 10) if full else (10, 3)
    with network.Hosts() as hosts:
        redis = RedisServer(tmp_path / "redis", reachable=True)
        lab = Lab(tmp_path, workers=2, token_s=TOKEN_S, redis=redis, LEASE_S=str(lease_s)).start()
        # The others have room, and may take as many suspects as it has slots.
        far = lab.add_worker(
            prefix=hosts.there, SLOTS="8", REDIS_URL=f"redis://{network.HERE}:{lab.redis.port}/0"
        )
        try:
            name = far.registered(lab.store).id
            clients = Clients(lab, in_flight=24, body=partial(_longer_than, lease_s)).start()
            eventually(lambda: len(lab.running_on(name)) > 3, timeout_s=30)
            cut_ms = time.time() * 1000
            hosts.cut()
            held = frozenset(lab.running_on(name))
            mended_s = time.monotonic() + cut_s
            stopped_s = _seconds_until_idle(far.log, cut_ms, timeout_s=2 * lease_s)
            eventually(lambda: time.monotonic() > mended_s, timeout_s=cut_s + 1, every_s=0.2)
            assert far.alive
            hosts.mend()
            mended_s = time.monotonic()
            eventually(lambda: lab.running_on(name), timeout_s=15)
            back_s = time.monotonic() - mended_s
            accepted = clients.stop()
            kill = Kill(at_ms=cut_ms, jobs=held)
            account = settle(lab, accepted, [kill], timeout_s=120)
            row(
                f"worker cut off for {cut_s} s, lease {lease_s} s", account,
                f"its runs stopped after {stopped_s:.1f} s, it worked again {back_s:.1f} s"
                " after the cable was mended",
            )  # fmt: skip
            account.check()
            assert account.states == {"completed": len(accepted)}
            assert account.gaps_s
            assert account.gap_s[2] <= lease_s + 3
            assert stopped_s <= lease_s
            assert far.alive
        finally:
            far.kill()
            lab.stop()


def _longer_than(lease_s: int, chance: random.Random, name: str) -> dict[str, Any]:
    return prompt(name, int(chance.uniform(1.1, 1.6) * lease_s / TOKEN_S))


def _seconds_until_idle(log: Path, since_ms: float, timeout_s: float) -> float:
    """Until the worker says that it gave up the last of its runs."""
    given_up = re.compile(r"job\.given_up")
    before = 0
    quiet_since_s = time.monotonic()
    last_s = 0.0
    end = quiet_since_s + timeout_s
    while time.monotonic() < end:
        count = len(given_up.findall(log.read_text()))
        if count > before:
            before, last_s = count, time.time() - since_ms / 1000
            quiet_since_s = time.monotonic()
        elif before and time.monotonic() - quiet_since_s > 1:
            return last_s
        time.sleep(0.02)
    raise AssertionError(f"the worker gave nothing up within {timeout_s} s")
