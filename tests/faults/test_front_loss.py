"""Web processes are killed, also when a job is recorded and nobody has been told of it."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Row
from tests.support import lab_front
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.service import Service, prompt
from tests.support.waiting import eventually
from tests.support.witness import BROKEN, Witness

pytestmark = pytest.mark.timeout(300)
CLIENTS = 100


def test_a_job_whose_front_dies_and_whose_hint_is_lost_starts_within_two_seconds(
    tmp_path: Path, row: Row, full: bool
) -> None:
    deaths = tmp_path / "deaths"
    deaths.touch()
    lab = Lab(
        tmp_path, workers=1, fronts=2, token_s=0.005, front_command=lab_front.COMMAND,
        lab={"LAB_DIE": "recorded", "LAB_DEATHS": str(deaths)},
    ).start()  # fmt: skip
    try:
        accepted: list[str] = []
        waited_ms: list[int] = []
        for number in range(20 if full else 4):
            body, key = prompt(f"order {number}", 16), f"key-{number}"
            job = lab.submit(body, key=key)["id"]
            assert len(deaths.read_text().splitlines()) == number + 1
            assert lab.submit(body, key=key)["id"] == job
            accepted.append(job)
            waited_ms.append(
                eventually(partial(start_of, lab, job)) - lab.store.get(job).created_ms
            )
        account = settle(lab, accepted, timeout_s=20)
        waits = f"started {min(waited_ms)} to {max(waited_ms)} ms after the death"
        row(
            f"kill -9 of a front that recorded a job whose hint is lost, {len(accepted)} times",
            account,
            waits,
        )
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert max(waited_ms) <= 2000
    finally:
        lab.stop()


def test_a_hundred_submits_with_one_key_are_one_job_while_fronts_die(
    tmp_path: Path, row: Row, full: bool
) -> None:
    lab = Lab(tmp_path, workers=2, fronts=2, token_s=0.005).start()
    witness, chance = Witness(), random.Random(13)
    nervous = Service(lab.settings, [front.url for front in lab.fronts], witness)
    try:
        accepted: list[str] = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(18 if full else 3):
                harm = HARM[number % len(HARM)]
                eventually(lambda: all(front.answers() for front in lab.fronts), timeout_s=30)
                jobs = submit_at_once(pool, nervous, number, partial(harm, lab, chance))
                assert len(jobs) == 1, jobs
                accepted += jobs
        account = settle(lab, accepted, timeout_s=60)
        records = [lab.store.get(job) for job in accepted]
        row(
            f"{CLIENTS} submits with one key while fronts die, {len(accepted)} times",
            account,
            str(witness),
        )
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert {record.attempts for record in records} == {1}
        assert lab.store.counters()["jobs_submitted"] == len(accepted)
        assert witness.seen[BROKEN]
        assert not witness.unhealed()
    finally:
        nervous.close()
        lab.stop()


def start_of(lab: Lab, job: str) -> int:
    """When a job was started, by Redis's clock; 0 if it was not yet."""
    return lab.store.get(job).started_ms or 0


def submit_at_once(
    pool: ThreadPoolExecutor, service: Service, number: int, harm: Callable[[], None]
) -> set[str]:
    """The ids that so many clients are answered who submit at the same moment, with one key."""
    together = threading.Barrier(CLIENTS + 1)
    body = prompt(f"question {number}", 16, cache=False)

    def submit(_: int) -> str:
        together.wait(timeout=30)
        return str(service.submit(body, key=f"key-{number}")["id"])

    answers = pool.map(submit, range(CLIENTS))
    together.wait(timeout=30)
    harm()
    return set(answers)


def kill_one(lab: Lab, chance: random.Random) -> None:
    """kill -9 of one front, its master and all that it forked."""
    time.sleep(chance.uniform(0.01, 0.2))  # the moment is random, that is the point
    chance.choice(lab.fronts).kill()


def kill_workers(lab: Lab, chance: random.Random) -> None:
    """kill -9 of what serves in both fronts; their masters live."""
    for front in lab.fronts:
        time.sleep(chance.uniform(0.01, 0.1))
        for process in psutil.Process(front.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def kill_all(lab: Lab, chance: random.Random) -> None:
    """kill -9 of both fronts, so that for a moment nobody answers."""
    time.sleep(chance.uniform(0.01, 0.2))
    for front in lab.fronts:
        front.kill()


HARM = (kill_one, kill_workers, kill_all)
