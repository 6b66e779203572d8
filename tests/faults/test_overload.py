"""Ten times more is asked for than can be done."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract import keys
from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.stack import ROOT
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]
BACKLOG, SLOTS = 16, 8
JOBS_PER_S = SLOTS / 0.42  # 40 tokens of 10 ms each, and a little


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(
        tmp_path, workers=2, token_s=0.01, SLOTS=str(SLOTS // 2), MAX_BACKLOG=str(BACKLOG)
    ).start()
    yield lab
    lab.stop()


def test_ten_times_more_submits_than_can_be_done_are_refused_at_once_and_cost_no_memory(
    lab: Lab, row: Row, full: bool
) -> None:
    flooded(lab, "rude", 10 * JOBS_PER_S, 4)  # caches and pools are warm from now on
    eventually(lambda: not any(worker.running for worker in lab.store.workers()), timeout_s=60)
    before, redis = memory(lab), lab.redis.client()
    redis.config_set("latency-monitor-threshold", 5)
    told = flooded(lab, "rude", 10 * JOBS_PER_S, 60 if full else 8)
    stalls_s = {second: ms / 1000 for second, ms in redis.latency_history("aof-fsync-always")}
    grown = {name: size - before[name] for name, size in memory(lab).items()}
    account = settle(lab, told["accepted"], timeout_s=60)
    took_s = [seconds for _, seconds in told["refusals"]]
    p50_s, p99_s = at(took_s, 0.5), at(took_s, 0.99)
    own_p99_s = at([without_disk_s(at_s, s, stalls_s) for at_s, s in told["refusals"]], 0.99)
    row(
        "submits at ten times the rate of work", account,
        f"{len(took_s)} refused in {p50_s * 1000:.0f} ms (p50), {p99_s * 1000:.0f} ms (p99),"
        f" {own_p99_s * 1000:.0f} without the disk, which took"
        f" {max(stalls_s.values(), default=0) * 1000:.0f} ms for a write at worst;"
        + ", ".join(f" {name} {size / 1e6:+.1f} MB" for name, size in grown.items()),
    )  # fmt: skip
    account.check()
    assert account.states == {"completed": account.accepted}
    assert not told["others"]
    assert len(took_s) > 5 * account.accepted
    assert own_p99_s <= 0.05
    assert grown["fronts"] <= 16e6
    assert grown["finished jobs"] <= 10e3 * account.accepted  # they are kept for a day
    assert grown["else in Redis"] <= 4e6  # turns, whose number has a limit, and indexes


def test_who_is_refused_and_comes_back_when_told_finds_a_place_then(
    lab: Lab, row: Row, full: bool
) -> None:
    known = flooded(lab, "polite", SLOTS, 10)["accepted"]  # of a new queue nobody knows the rate
    told = flooded(lab, "polite", 10 * (BACKLOG + SLOTS), 75 if full else 24)
    account = settle(lab, [*known, *told["accepted"]], timeout_s=60)
    ratios = [told_s / waited_s for told_s, waited_s in told["waits"]]
    p10, p50, p90 = (at(ratios, q) for q in (0.1, 0.5, 0.9))
    row(
        f"{10 * (BACKLOG + SLOTS)} clients for {BACKLOG + SLOTS} places", account,
        f"seconds told over seconds waited: {p10:.2f} (p10), {p50:.2f} (p50), {p90:.2f} (p90)"
        f" over {len(ratios)} refusals",
    )  # fmt: skip
    account.check()
    assert not told["others"]
    assert 0.5 <= p10 <= p90 <= 2


def at(values: Sequence[float], quantile: float) -> float:
    """The value at a quantile."""
    return sorted(values)[int(len(values) * quantile)]


def without_disk_s(asked_s: float, took_s: float, stalls_s: Mapping[int, float]) -> float:
    """Seconds of a refusal beyond the worst write to the disk in its time.

    While Redis syncs its file, for others, it answers nobody.
    """
    seconds = range(int(asked_s), int(asked_s + took_s) + 2)  # one is noted at its end
    return took_s - max(stalls_s.get(second, 0.0) for second in seconds)


def flooded(lab: Lab, kind: str, number: float, seconds: float) -> dict[str, Any]:
    """What the clients of tests.support.flood were told; they are a process of their own."""
    command = [sys.executable, "-m", "tests.support.flood", lab.fronts[0].url, kind, str(number)]
    answer = subprocess.run(
        [*command, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=240
    )
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def memory(lab: Lab) -> dict[str, float]:
    """Bytes held by all processes of the fronts, and by Redis for each of two kinds of data."""
    masters = [psutil.Process(front.pid) for front in lab.fronts]
    fronts = [p for master in masters for p in (master, *master.children(recursive=True))]
    redis = lab.redis.client()
    info: Any = redis.info("memory")
    jobs = 0
    for family in (keys.JOB, keys.EVENTS, keys.IDEMPOTENCY, keys.CACHE, keys.CLAIMED, keys.INPUT):
        usages = redis.pipeline(transaction=False)
        for key in redis.scan_iter(family("*"), count=1000):
            usages.memory_usage(key, samples=0)
        jobs += sum(size or 0 for size in usages.execute())
    return {
        "fronts": sum(p.memory_info().rss for p in fronts),
        "finished jobs": jobs,
        "else in Redis": info["used_memory"] - jobs,
    }
