"""A worker dies between two steps of a job's life: after its claim, after its result."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Clients, Kill, settle
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]


@pytest.mark.parametrize(
    ("point", "between"),
    [("claimed", "claim and start"), ("finished", "result and acknowledgement")],
)
def test_a_worker_that_dies_between_two_steps_loses_no_job(
    tmp_path: Path, row: Row, full: bool, point: str, between: str
) -> None:
    deaths = tmp_path / "deaths"
    deaths.touch()
    lab = Lab(
        tmp_path, workers=3, token_s=0.01,
        lab={"LAB_DIE": point, "LAB_DIE_CHANCE": "0.01", "LAB_DEATHS": str(deaths)},
    ).start()  # fmt: skip
    try:
        clients = Clients(lab, in_flight=60, body=short).start()
        least = 25 if full else 3
        eventually(lambda: deaths.read_text().count("\n") >= least, timeout_s=240, every_s=0.1)
        lab.lab.clear()  # who is started from now on lives
        lab.lab["LAB_TOKEN_S"] = "0.01"
        accepted = clients.stop()
        account = settle(lab, accepted, kills_of(deaths), timeout_s=120)
        count = deaths.read_text().count("\n")
        row(f"death between {between}, {count} times", account)
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert account.gap_s[0] <= 2 or not full  # three deaths have no median worth the name
        assert account.gap_s[2] <= lab.settings.lease_s + 3
    finally:
        lab.stop()


def short(chance: random.Random, name: str) -> dict[str, Any]:
    """A job of half a second at most."""
    return prompt(name, chance.randint(8, 50))


def kills_of(deaths: Path) -> list[Kill]:
    """The deaths that the workers wrote down before them."""
    lines = [json.loads(line) for line in deaths.read_text().splitlines()]
    return [Kill(at_ms=line["at_ms"], jobs=frozenset(line["jobs"])) for line in lines]
