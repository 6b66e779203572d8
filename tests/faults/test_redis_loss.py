"""Redis dies and comes back under load."""

import os
import signal
import time
from pathlib import Path

import pytest

from contract.errors import StoreUnavailableError
from contract.settings import Settings
from contract.store import JobStore
from contract.store.connection import SOCKET_TIMEOUT_S, translated
from tests.faults.conftest import Row
from tests.support.ledger import Clients, settle
from tests.support.redis_server import RedisServer
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)


def test_redis_killed_under_load_loses_no_accepted_job_and_ends_no_worker(
    tmp_path: Path, row: Row
) -> None:
    stack = Stack(tmp_path, workers=2, MILLRACE_SLOTS="16").start()
    try:
        pids = {w["pid"] for w in stack.worker_rows()}
        clients = Clients(stack, in_flight=100).start()
        eventually(lambda: len(clients.accepted) > 200, timeout_s=60)
        old = stack.redis_pid()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: _pid_or_none(stack) not in (None, old), timeout_s=30)
        before = len(clients.accepted)
        resumed_s = time.monotonic()
        done = _completed(stack)
        eventually(lambda: _completed(stack) > done, timeout_s=5)
        resumed_s = time.monotonic() - resumed_s
        eventually(lambda: len(clients.accepted) > before + 100, timeout_s=60)
        accepted = clients.stop()
        account = settle(stack, accepted, timeout_s=90)
        row("kill -9 of Redis", account, f"work went on {resumed_s:.2f} s after its return")
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert {w["pid"] for w in stack.worker_rows()} == pids
    finally:
        stack.stop()


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


def _pid_or_none(stack: Stack) -> int | None:
    try:
        with translated():
            return stack.redis_pid()
    except StoreUnavailableError:
        return None


def _completed(stack: Stack) -> int:
    return stack.store.counters().get("jobs_completed", 0)
