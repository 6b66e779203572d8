"""Clients of every kind at work on a lab while a test harms its Redis, and what must hold then."""

import time

import psutil

from tests.support.lab import Lab
from tests.support.ledger import Account, Clients, settle
from tests.support.onlookers import Onlooker, Tries
from tests.support.service import prompt

_MOST_S = 10
"""No read, stream or submit may take longer than this to be answered, if only by 503."""


class Load:
    """Many that submit until accepted, one that tries once, one that reads, four that follow.

    Args:
        story_tokens: of each job that is followed.
        in_flight: jobs that wait or run at a time.
    """

    def __init__(self, lab: Lab, name: str, *, story_tokens: int, in_flight: int = 60) -> None:
        self._lab = lab
        self._living = pids(lab)
        self._exits = list(lab.exits)
        self._stories = [
            lab.submit(prompt(f"a story with {name}, {n}", story_tokens))["id"] for n in range(4)
        ]
        self._onlooker = Onlooker(lab, lab.fronts[0].url, self._stories)
        self._clients = Clients(lab, in_flight=in_flight)
        self._accepted: list[str] = []
        self.tries = Tries(lab)

    def start(self) -> "Load":
        """Begin, and return when work goes on under load."""
        self._onlooker.start()
        self._clients.start()
        self._lab.completes(20, timeout_s=30)
        return self

    def urgent_job_s(self) -> float:
        """How long a job takes that is submitted now and goes before all others."""
        started_s = time.monotonic()
        job = self._lab.submit(prompt(f"urgent at {started_s}", 1, priority=0))["id"]
        self._accepted.append(job)
        assert self._lab.finished(job, timeout_s=30)["status"] == "completed"
        return time.monotonic() - started_s

    def end(self) -> Account:
        """Submit no more, and wait for the end of every job that was answered 202."""
        self._accepted += self._stories + self.tries.accepted + self._clients.stop()
        account = settle(self._lab, self._accepted, timeout_s=60)
        self._onlooker.stop()
        return account

    @property
    def waits(self) -> str:
        """How long answers took at most, for the table."""
        submits = f"submits refused within {self.tries.slowest_s:.1f} s; "
        reads = f"reads answered within {self._onlooker.slowest_s:.1f} s"
        return (submits if self.tries.answers else "") + reads

    def check(self, account: Account) -> None:
        """All completed in one run each, no process ended, no answer was late or an error of ours.

        Streams brought every event once and in order, and the text of the result.
        """
        account.check()
        assert account.states == {"completed": account.accepted}
        assert self._lab.tried_again(self._accepted) == []
        assert self._lab.exits == self._exits
        assert self._living <= pids(self._lab)
        assert self._onlooker.statuses <= {200, 503}
        assert max(self._onlooker.slowest_s, self.tries.slowest_s) < _MOST_S
        assert set(self.tries.answers) <= {(202, ""), (503, "store_unavailable")}
        for story in self._onlooker.stories:
            story.check()


def pids(lab: Lab) -> set[int]:
    """The workers, the fronts, and what the fronts have forked."""
    masters = [front.pid for front in lab.fronts]
    forked = [child.pid for pid in masters for child in psutil.Process(pid).children()]
    return {*masters, *forked, *(worker.pid for worker in lab.workers)}
