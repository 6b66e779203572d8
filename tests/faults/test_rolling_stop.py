"""Workers and fronts are told to stop, one after another, while clients submit and read."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.ledger import Account, Body, Clients, settle, short_prompt
from tests.support.service import Service, prompt
from tests.support.waiting import eventually
from tests.support.witness import Witness
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(300)
#: What a process may take beyond the time that its jobs are given.
MARGIN_S = 5.0


def test_a_rolling_restart_of_everything_under_load_costs_no_job_anything(
    tmp_path: Path, row: Row, full: bool
) -> None:
    with rolling(tmp_path, drain_s=5, fronts=2) as roll:
        for _ in range(2 if full else 1):
            roll.workers_stop()
            roll.fronts_stop()
        account, released = roll.end()
        row(f"rolling SIGTERM of all, {roll.stops} processes", account, roll.note(released))
        roll.check(account)
        assert account.states == {"completed": account.accepted}


def test_jobs_longer_than_the_grace_of_their_workers_go_on_elsewhere_uncharged(
    tmp_path: Path, row: Row, full: bool
) -> None:
    def long_prompt(chance: random.Random, name: str) -> dict[str, Any]:
        return prompt(name, chance.randint(200, 400))  # 2 to 4 s

    with rolling(tmp_path, drain_s=1, fronts=1, body=long_prompt) as roll:
        for _ in range(2 if full else 1):
            roll.workers_stop()
        account, released = roll.end()
        row(f"rolling SIGTERM, grace < job, {roll.stops} workers", account, roll.note(released))
        roll.check(account)
        assert account.states == {"completed": account.accepted}
        assert released


class Rolling:
    """A lab under load, whose processes are told to stop one after another and are replaced."""

    def __init__(self, lab: Lab, body: Body, drain_s: float) -> None:
        self._lab = lab
        self._grace_s = drain_s + MARGIN_S
        self._witness = Witness()
        self._service = Service(lab.settings, [front.url for front in lab.fronts], self._witness)
        self._clients = Clients(self._service, in_flight=60, body=body).start()
        self._charged: list[str] = []
        self._took_s: list[float] = []
        self._statuses: list[int] = []
        eventually(lambda: len(self._clients.accepted) > 80, timeout_s=60)

    @property
    def stops(self) -> int:
        """How many processes were told to stop."""
        return len(self._took_s)

    def workers_stop(self) -> None:
        """Each worker in turn, once all of them serve."""
        for worker in list(self._lab.workers):
            eventually(self._all_serve, timeout_s=60)
            eventually(partial(self._runs, worker), timeout_s=30)
            with self._timed():
                worker.signal(signal.SIGTERM)
                self._statuses.append(worker.wait())
        eventually(self._all_serve, timeout_s=60)

    def fronts_stop(self) -> None:
        """Each front in turn, once all of them serve."""
        for front in self._lab.fronts:
            with self._timed():
                self._statuses.append(front.stop())
            eventually(front.answers, timeout_s=60)

    def end(self) -> tuple[Account, int]:
        """The clients' account, and how many jobs were claimed more than once."""
        accepted = self._clients.stop()
        account = settle(self._lab, accepted, timeout_s=60)
        records = [self._lab.store.get(job) for job in accepted]
        self._charged = [record.id for record in records if record.losses or record.failures]
        return account, sum(record.attempts > 1 for record in records)

    def note(self, released: int) -> str:
        """What the table says of it."""
        return f"{released} given back, exits in {max(self._took_s):.1f} s at most; {self._witness}"

    def check(self, account: Account) -> None:
        """No job lost or charged, no client told more than to come again, every exit in time."""
        account.check()
        assert self._charged == []
        assert not self._witness.unhealed(), self._witness
        assert set(self._statuses) == {0}
        assert max(self._took_s) <= self._grace_s

    def close(self) -> None:
        """End the clients."""
        self._clients.stop()
        self._service.close()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._took_s.append(time.monotonic() - started_s)

    def _all_serve(self) -> bool:
        ready = {worker.pid for worker in self._lab.store.workers() if worker.state == "ready"}
        return ready == {worker.pid for worker in self._lab.workers}

    def _runs(self, worker: WorkerProcess) -> bool:
        return any(w.running and w.pid == worker.pid for w in self._lab.store.workers())


@contextmanager
def rolling(
    folder: Path, *, drain_s: float, fronts: int, body: Body = short_prompt
) -> Iterator[Rolling]:
    """Two workers, so many fronts, and clients that keep them busy."""
    lab = Lab(folder, workers=2, fronts=fronts, token_s=0.01, DRAIN_S=str(drain_s)).start()
    try:
        roll = Rolling(lab, body, drain_s)
        try:
            yield roll
        finally:
            roll.close()
    finally:
        lab.stop()
