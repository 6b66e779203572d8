"""What harmful jobs did to others, as the event streams and records tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from contract.job import Job
from tests.support.ledger import Account, settle
from tests.support.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A run that its worker did not survive: from the claim until the job was taken from it.

    ``cause`` is None for the loss that buried the job.
    """

    from_ms: float
    to_ms: float
    cause: str | None


def losses_of(service: Service, job: str) -> list[Loss]:
    """Read from the job's own stream, times in ms since the epoch."""
    losses: list[Loss] = []
    started_ms = 0.0
    for event in service.store.read_events({job: "0-0"})[job]:
        at_ms = float(event.id.partition("-")[0])
        if event.data.get("status") == "in_progress":
            started_ms = at_ms
        elif started_ms and event.data.get("status") in ("queued", "failed"):
            cause = event.data.get("cause")
            losses.append(Loss(from_ms=started_ms, to_ms=at_ms, cause=cause and str(cause)))
            started_ms = 0.0
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """The account of harmful and innocent jobs together, and what the innocent ones suffered.

    ``still_s`` is the longest time in which no job ended that was never on a lost worker, between
    the first claim of a harmful one and the last loss; ``harm_s`` is for how long they ran in all.
    """

    account: Account
    most_losses: int
    most_reruns: int
    still_s: float
    harm_s: float

    @property
    def note(self) -> str:
        """For the table."""
        return (
            f"cost {self.most_losses} workers in {self.harm_s:.1f} s;"
            f" others stood still {self.still_s:.1f} s, re-run <= {self.most_reruns}"
        )


def toll(
    service: Service, harmful: Sequence[str], innocent: Sequence[str], *, timeout_s: float
) -> Toll:
    """Wait until all have ended, and count."""
    account = settle(service, [*innocent, *harmful], timeout_s=timeout_s)
    harm = [loss for job in harmful for loss in losses_of(service, job)]
    records = [service.store.get(job) for job in innocent]
    return Toll(
        account=account,
        most_losses=max(service.store.get(job).losses for job in harmful),
        most_reruns=max(record.losses for record in records),
        still_s=_longest_pause_s(
            [record for record in records if record.losses == 0],
            min(loss.from_ms for loss in harm),
            max(loss.to_ms for loss in harm),
        ),
        harm_s=sum(loss.to_ms - loss.from_ms for loss in harm) / 1000,
    )


def _longest_pause_s(records: Sequence[Job], from_ms: float, to_ms: float) -> float:
    ends = [float(record.finished_ms or 0) for record in records]
    inside = sorted([from_ms, to_ms, *(end for end in ends if from_ms < end < to_ms)])
    return max(later - sooner for sooner, later in pairwise(inside)) / 1000
