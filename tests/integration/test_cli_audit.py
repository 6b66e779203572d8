"""`millrace audit` against a real server: what it prints, and how it exits."""

import json
import re
from pathlib import Path

import pytest

from contract import keys
from contract.settings import Settings
from contract.store import Connection
from contract.store.audit_report import KINDS
from millrace.cli.main import run
from tests.support.audited import Scene, scene
from tests.support.jobs import QUEUE
from tests.support.redis_server import RedisServer, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environ(redis_server: RedisServer) -> dict[str, str]:
    """The settings of the clean server, as a shell has them."""
    return {"MILLRACE_REDIS_URL": redis_server.url}


@pytest.fixture
def whole(connection: Connection, settings: Settings) -> Scene:
    """A store in order, with a job in every situation."""
    return scene(connection, settings)


def test_a_store_in_order_passes_and_its_equation_is_shown(
    whole: Scene, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit"], environ) == 0
    out = capsys.readouterr().out
    assert "11 submitted + 1 redriven = 4 completed + 2 failed + 1 cancelled + 0 expired" in out
    assert "+ 4 queued + 1 in_progress, exactly" in out
    assert "11 submitted - 0 past their retention = 11 in Redis, exactly" in out
    assert re.search(r"nothing is lost: looked at 11 records and \d+ keys", out)
    assert re.search(r"^dead letters +1$", out, re.MULTILINE)
    assert whole["done"] not in out


def test_what_is_wrong_is_named_with_its_meaning_and_the_command_fails(
    whole: Scene, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole.redis.zrem(keys.PENDING(QUEUE), whole["waiting"])
    whole.redis.hincrby(keys.COUNTERS(), "jobs_submitted", 2)
    assert run(["audit"], environ) == 1
    out = capsys.readouterr().out
    for words in (
        *("WRONG by 2", "NOT CLEAN", "misplaced", KINDS["misplaced"], whole["waiting"]),
        *("equation", "numbered", "vanished"),
    ):
        assert words in out


def test_machines_get_one_json_value(
    whole: Scene, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "--json"], environ) == 0
    clean = json.loads(capsys.readouterr().out)
    assert (clean["ok"], clean["findings"], clean["records"]) == (True, [], 11)
    totals = clean["totals"]
    assert (totals["submitted"], totals["unaccounted"], totals["vanished"]) == (11, 0, 0)
    assert totals["present"]["queued"] == 4
    assert totals["ended"]["completed"] == 4

    whole.redis.zrem(keys.LEASES(), whole["running"])
    assert run(["audit", "--json"], environ) == 1
    answer = capsys.readouterr()
    broken = json.loads(answer.out)
    [finding] = broken["findings"]
    assert not broken["ok"]
    assert finding == {
        "kind": "unleased",
        "meaning": KINDS["unleased"],
        "count": 1,
        "ids": [whole["running"]],
    }
    assert answer.err == ""


def test_no_more_than_ten_ids_of_a_kind_are_shown(
    connection: Connection, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    connection.redis.zadd(keys.EXPIRING(), {f"job_{n}": 9e12 for n in range(600)})
    assert run(["audit", "--json"], environ) == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["kind"], finding["count"], len(finding["ids"])) == ("orphan", 600, 10)


def test_a_server_that_is_away_is_told_apart_from_one_in_disorder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    url = f"redis://someone:secret@127.0.0.1:{port}/0"
    assert run(["audit"], {"MILLRACE_REDIS_URL": url}) == 4
    told = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in told
    assert "secret" not in told


def test_the_documentation_lists_every_kind_of_finding() -> None:
    lines = (ROOT / "docs" / "audit.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == [f"| `{kind}` | {meaning} |" for kind, meaning in KINDS.items()]
