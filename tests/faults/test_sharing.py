"""Many clients ask the same at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.service import prompt

pytestmark = pytest.mark.timeout(120)
CLIENTS = 100


def test_a_hundred_identical_jobs_at_once_are_executed_once(tmp_path: Path, row: Row) -> None:
    lab = Lab(tmp_path, workers=2, token_s=0.005).start()
    try:
        body = prompt("one question, asked by everybody", 100)
        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = list(pool.map(lambda _: str(lab.submit(body)["id"]), range(CLIENTS)))
        account = settle(lab, jobs, timeout_s=60)
        row(f"{CLIENTS} identical jobs at once", account)
        account.check()
        assert account.states == {"completed": CLIENTS}
        done = [lab.job(job) for job in jobs]
        assert len({job["output"]["text"] for job in done}) == 1
        assert sum(not job["cached"] for job in done) == 1
        assert sum(job["attempts"] for job in done) == 1
    finally:
        lab.stop()
