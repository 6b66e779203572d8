"""A part of a worker hangs or fails for good: the process is replaced and its jobs move."""

from pathlib import Path

import pytest

from tests.faults.conftest import Row
from tests.support.harm import losses_of
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.service import prompt
from tests.support.waiting import eventually
from workers.health import EXIT_UNFIT

pytestmark = pytest.mark.timeout(180)
SEEN_WITHIN_S = 30


@pytest.mark.parametrize("token_s", [0.01, None], ids=["simulated engine", "tiny model"])
def test_an_engine_that_hangs_has_its_process_replaced_and_its_jobs_moved(
    tmp_path: Path, row: Row, full: bool, token_s: float | None
) -> None:
    if token_s is not None and not full:
        pytest.skip("at full length only: it waits for the default MILLRACE_STALL_S")
    stall_s = "20" if token_s is not None else "2"
    lab = Lab(
        tmp_path, workers=2, token_s=token_s, lab={"LAB_POISON": "1"}, STALL_S=stall_s
    ).start()  # fmt: skip
    replaced(lab, row, "poison-hang", f"engine that hangs, STALL_S {stall_s}", "engine_stalled")


def test_an_engine_that_fails_for_good_has_its_process_replaced_and_its_jobs_moved(
    tmp_path: Path, row: Row
) -> None:
    lab = Lab(tmp_path, workers=2, lab={"LAB_POISON": "1"}).start()
    replaced(lab, row, "poison-error", "fatal error of the engine, tiny model", "engine_failed")


def test_a_worker_whose_heartbeat_dies_of_an_error_is_replaced_and_its_jobs_moved(
    tmp_path: Path, row: Row, full: bool
) -> None:
    if not full:
        pytest.skip("at full length only")
    lab = Lab(tmp_path, workers=2, token_s=0.01, lab={"LAB_POISON": "1"}).start()
    replaced(lab, row, "poison-heart", "heartbeat's thread dies", "worker_failed")


def replaced(lab: Lab, row: Row, word: str, fault: str, cause: str) -> None:
    """Let one worker go bad under load, once, and check what is promised."""
    try:
        clients = Clients(lab, in_flight=60).start()
        eventually(lambda: len(clients.accepted) > 80, timeout_s=60)
        harmful = lab.submit(prompt(word, 200))["id"]
        loss = eventually(lambda: losses_of(lab, harmful), timeout_s=SEEN_WITHIN_S + 10)[0]
        assert lab.http.post(f"/api/v1/jobs/{harmful}/cancel").status_code == 202  # once is enough
        eventually(lambda: lab.exits, timeout_s=10)
        eventually(lambda: serving(lab) == {worker.pid for worker in lab.workers}, timeout_s=60)
        accepted = [*clients.stop(), harmful]
        account = settle(lab, accepted, timeout_s=60)
        seen_s = (loss.to_ms - loss.from_ms) / 1000
        row(fault, account, f"jobs taken from it {seen_s:.1f} s after the claim, {loss.cause}")
        account.check()
        assert account.states == {"completed": len(accepted) - 1, "cancelled": 1}
        assert loss.cause == cause
        assert seen_s <= SEEN_WITHIN_S
        assert account.rerun > 1
        assert set(lab.exits) == {EXIT_UNFIT}
    finally:
        lab.stop()


def serving(lab: Lab) -> set[int]:
    """The processes that are listed as workers."""
    return {row["pid"] for row in lab.worker_rows()}
