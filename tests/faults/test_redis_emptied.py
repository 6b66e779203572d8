"""Redis comes back with an empty disk: what was accepted is gone, and that must not pass unsaid."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.store import JobStore
from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.onlookers import Tries
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(200)
REPLACED = (503, "store_replaced")


def test_a_redis_that_lost_its_disk_is_reported_and_takes_no_job_until_the_front_is_restarted(
    tmp_path: Path, row: Row
) -> None:
    lab = Lab(tmp_path, workers=2, token_s=0.01).start()
    operator = threading.Event()
    try:
        clients = Clients(lab, in_flight=60).start()
        lab.completes(20, timeout_s=30)
        lab.redis.kill()
        lab.redis.lose_disk()
        tries = Tries(lab)
        eventually(lambda: tries.submit() == 503)
        lost = list(clients.accepted)
        with ThreadPoolExecutor(4) as pool:
            hasty = [pool.submit(keep_trying, lab, operator) for _ in range(4)]
            try:
                lab.redis.start()
                logs = [lab.fronts[0].log, *(worker.log for worker in lab.workers)]
                eventually(lambda: all("store.replaced" in log.read_text() for log in logs), 10)
                ready = lab.http.get("/readyz")
                known = lab.http.get(f"/api/v1/jobs/{lost[-1]}")
                for _ in range(50):
                    tries.submit()
                assert clients.accepted == lost
            finally:
                operator.set()
            answers = sum((each.result().answers for each in hasty), tries.answers)

        lab.fronts[0].stop()  # the lab starts it again
        eventually(lambda: lab.is_ready(2), timeout_s=30)
        lab.store = JobStore.connect(lab.settings)
        clients.stop()
        jobs = [lab.submit(prompt(f"a new beginning {n}", 16))["id"] for n in range(20)]
        accepted = jobs + clients.accepted[len(lost) :]
        after = settle(lab, accepted, timeout_s=60)
        before = settle(lab, lost, timeout_s=0.5)
        row(
            "Redis restarted with an empty disk", before,
            f"reported; {answers[REPLACED]} submits refused until the front was restarted, then "
            f"{after.states['completed']} of {after.accepted} completed",
        )  # fmt: skip
        after.check()
        assert after.states == {"completed": len(accepted)}
        assert before.lost == before.accepted
        assert set(answers) <= {REPLACED, (503, "store_unavailable")}
        assert tries.answers[REPLACED] >= 50
        assert ready.status_code == 503
        assert "jobs" in ready.json()["missing"]
        assert (known.status_code, known.json()["code"]) == (503, "store_replaced")
        assert lab.exits == []
    finally:
        lab.stop()


def keep_trying(lab: Lab, until: threading.Event) -> Tries:
    """Submit something new again and again, whatever is answered."""
    tries = Tries(lab)
    while not until.is_set():
        tries.submit()
    return tries
