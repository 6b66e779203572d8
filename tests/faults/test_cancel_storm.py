"""Everything is cancelled at once: what waits, what runs, and what is just about to end."""

import json
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.faults.conftest import Row
from tests.support.canceller import Told, cancel, cancel_all
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]
TOKEN_S = 0.02
SLOTS = 16
THREADS = 8


def test_a_storm_of_cancels_is_answered_at_once_and_each_answer_is_final(
    tmp_path: Path, row: Row, full: bool
) -> None:
    lab = Lab(
        tmp_path, workers=2, token_s=TOKEN_S, SLOTS=str(SLOTS), LOG_FORMAT="json"
    ).start()  # fmt: skip
    chance = random.Random(12)
    try:
        # While these hold every slot, the others gather behind them.
        jobs = submit(lab, [(f"long wish {n}", 5000) for n in range(2 * SLOTS)])
        jobs += submit(lab, some_twins((1000 if full else 200) - len(jobs), chance))
        eventually(lambda: slots_taken(lab) == 2 * SLOTS)
        order = chance.sample(jobs, len(jobs))
        told = cancel_all(lab.fronts[0].port, order, threads=THREADS)
        eventually(lambda: slots_taken(lab) == 0, timeout_s=2)
        # They are free at the workers too: as many jobs as there are slots run at once.
        last = submit(lab, [(f"last wish {n}", 50) for n in range(2 * SLOTS)])
        eventually(lambda: slots_taken(lab) == 2 * SLOTS, timeout_s=10, every_s=0.005)
        told += cancel_about_their_end(lab, last, chance)
        account = settle(lab, jobs + last, timeout_s=10)
        stopped_s = stops(lab, told)
        waits_ms = sorted(
            1000 * one.took_s for one in told if one.status == "cancelled" and not one.ran
        )
        row(f"cancel storm from {THREADS} clients", account, note(told, waits_ms, stopped_s))
        account.check()
        check_final(lab, told)
        time.sleep(2)  # whatever still ran anywhere would have ended by now
        check_final(lab, told)
        assert Counter(account.states) == Counter(one.status for one in told)
        assert slots_taken(lab) == 0
        assert min(len(waits_ms), len(stopped_s), account.states["completed"]) >= 10
        assert waits_ms[int(len(waits_ms) * 0.99)] <= 100
        assert max(stopped_s) <= 1
    finally:
        lab.stop()


def submit(lab: Lab, wishes: Iterable[tuple[str, int]]) -> list[str]:
    """A job for each text and number of tokens."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda wish: str(lab.submit(prompt(*wish))["id"]), wishes))


def some_twins(count: int, chance: random.Random) -> list[tuple[str, int]]:
    """Wishes of 0.1 to 1 s, a tenth of them made twice: those share a run."""
    wishes = [(f"wish {n}", chance.randint(5, 50)) for n in range(count)]
    return [wishes[n - (n % 10 == 1)] for n in range(count)]


def cancel_about_their_end(lab: Lab, jobs: Sequence[str], chance: random.Random) -> list[Told]:
    """Cancel jobs of 50 tokens, some before they end, some after, most in between."""

    def cancel_later(job: str) -> list[Told]:
        time.sleep(50 * TOKEN_S * chance.uniform(0.7, 1.5))
        return cancel(lab.fronts[0].port, [job])

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [told for one in pool.map(cancel_later, jobs) for told in one]


def check_final(lab: Lab, told: Collection[Told]) -> None:
    """Every record and every stream says what the cancel was answered."""
    events = lab.store.read_events({one.job: "0-0" for one in told})
    for one in told:
        assert lab.store.get(one.job).state == one.status, one
        ends = [event.data["status"] for event in events[one.job] if event.kind == "done"]
        assert ends == [one.status], one
        assert events[one.job][-1].kind == "done", one


def stops(lab: Lab, told: Collection[Told]) -> list[float]:
    """From each answer to the engine's end of a run that was cancelled, in s."""
    ran = {one.job: one.at_s for one in told if one.status == "cancelled" and one.ran}
    eventually(lambda: ran.keys() <= fenced(lab).keys(), timeout_s=5)
    ended = fenced(lab)
    return [ended[job] - at_s for job, at_s in ran.items()]


def fenced(lab: Lab) -> dict[str, float]:
    """When workers said that a job is not theirs any more, its run having ended."""
    found = {}
    for worker in lab.workers:
        for line in worker.log.read_text().splitlines():
            if '"job.fenced"' in line:
                event = json.loads(line)
                found[event["job"]] = datetime.fromisoformat(event["timestamp"]).timestamp()
    return found


def slots_taken(lab: Lab) -> int:
    return sum(worker.running for worker in lab.store.workers())


def note(told: Collection[Told], waits_ms: Sequence[float], stopped_s: Sequence[float]) -> str:
    """What the table says of it."""
    p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[int(len(waits_ms) * 0.99)]
    return (
        f"{len(waits_ms)} queued p50 {p50:.0f} p99 {p99:.0f} max {waits_ms[-1]:.0f} ms; "
        f"{len(stopped_s)} running stopped in {max(stopped_s):.2f} s at most; "
        f"{sum(one.status == 'completed' for one in told)} were faster"
    )
