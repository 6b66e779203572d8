"""A web process dies in the midst of a bulk submit, again and again."""

from pathlib import Path

import pytest

from contract.errors import MillraceError
from contract.store import SUBMITS_AT_ONCE
from millrace.client import Client, JobHandle, RetryPolicy
from tests.faults.conftest import Row
from tests.support import lab_front
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.service import prompt

pytestmark = pytest.mark.timeout(300)


def test_a_batch_whose_front_dies_after_a_hundred_jobs_is_recorded_once(
    tmp_path: Path, row: Row, full: bool
) -> None:
    hundreds = 10 if full else 3
    deaths = tmp_path / "deaths"
    deaths.touch()
    lab = Lab(
        tmp_path, workers=2, token_s=0.001, front_command=lab_front.COMMAND,
        lab={"LAB_DIE": "recorded", "LAB_DEATHS": str(deaths)},
    ).start()  # fmt: skip
    bodies = [
        prompt(f"order {number}", 4, cache=False) for number in range(hundreds * SUBMITS_AT_ONCE)
    ]
    patient = RetryPolicy(retries=10 * hundreds, first_s=0.1, cap_s=1.0)
    try:
        with Client(lab.fronts[0].url, policy=patient) as client:
            first = accepted(client.submit_many(bodies, idempotency_key="orders"))
            again = accepted(client.submit_many(bodies, idempotency_key="orders"))
        account = settle(lab, first, timeout_s=60)
        died = len(deaths.read_text().splitlines())
        row(
            f"kill -9 of a front in the midst of a batch of {len(bodies)}, {died} times",
            account,
            "repeated by the client with its key",
        )
        account.check()
        assert died == hundreds
        assert again == first
        assert len(set(first)) == len(bodies)
        assert lab.store.counters()["jobs_submitted"] == len(bodies)
        assert account.states == {"completed": len(bodies)}
    finally:
        lab.stop()


def accepted(outcomes: list[JobHandle | MillraceError]) -> list[str]:
    """The ids of jobs none of which was refused."""
    refused = [each for each in outcomes if isinstance(each, MillraceError)]
    assert refused == []
    return [each.id for each in outcomes if isinstance(each, JobHandle)]
