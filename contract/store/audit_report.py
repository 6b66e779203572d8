"""What an audit says: totals, findings and what each kind of finding means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contract.job import TERMINAL, JobState

MOST_IDS = 10

#: Every kind of finding, in the order in which they are told, and what it means.
KINDS: Mapping[str, str] = {
    "equation": "accepted jobs are not all accounted for; the count is how many are not",
    "numbered": "more or fewer jobs were numbered than counted as submitted",
    "vanished": "records are gone that retention did not remove, or some came back",
    "record_missing": "the index names a job that has no record",
    "unindexed": "a record is not in the index at its place, so no list shows it",
    "state_index": "a job is not in the one list of its state, or in others",
    "incomplete": "a record lacks fields of its state, or has those of another",
    "misplaced": "a queued job waits nowhere, in several places or in the wrong one",
    "rank": "a job waits at another rank than its own",
    "leader": "a job follows another that cannot end for both",
    "retry_overdue": "a retry is past its backoff and was not moved",
    "unleased": "a running job has no lease, so nobody would notice its loss",
    "lease_overdue": "a lease ran out and nobody took the job back",
    "lease_long": "a lease ends later than any can",
    "not_running": "a running job is not in its worker's batch",
    "worker_unknown": "a running job's worker is not registered",
    "ended_but_kept": "an ended job still waits, runs, leads, or has a lease or a deadline",
    "deadline": "a live job's deadline is not watched, or another one is",
    "deadline_overdue": "a deadline has passed and the job has not ended",
    "expiry": "an ended job will not be removed when its time has come, or a live one will",
    "expiry_overdue": "a record is past its retention",
    "dead": "a job is a dead letter by its record or by the list of them, but not by both",
    "stream_missing": "a job has no stream of events",
    "end_missing": "a stream does not end as its job did",
    "ended_twice": "a stream tells of two ends of one life",
    "event_after_end": "something was written to a stream after its end",
    "orphan": "a set names a job that has no record",
    "stray": "a set names a job whose record says that it is not there",
    "stream_orphan": "a stream of events has no record",
    "input_orphan": "an input has no record",
    "idempotency": "an idempotency key stands for a job that never was (the ids are digests)",
    "leader_stale": "a fingerprint is led by a job that cannot answer for it",
    "worker_unlisted": "a worker that is not registered has left something",
    "queue_unlisted": "jobs wait in a queue that the reaper does not know",
    "immortal": "a key that must end by itself never will",
    "hints": "a job waits, a worker could start it, and nobody tells it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What was counted since the store began, and what is there; all of one moment.

    ``removed`` is None before the reaper first looked: then nobody can know it.
    """

    submitted: int
    redriven: int
    removed: int | None
    numbered: int
    indexed: int
    dead: int
    ended: Mapping[JobState, int]
    present: Mapping[JobState, int]
    reaped_s_ago: float | None

    @property
    def unaccounted(self) -> int:
        """Accepted and redriven jobs that neither ended nor are live; 0 when none is lost."""
        live = sum(n for state, n in self.present.items() if state not in TERMINAL)
        return self.submitted + self.redriven - sum(self.ended.values()) - live

    @property
    def vanished(self) -> int:
        """Records that should be there and are not; 0 while that cannot be known."""
        return 0 if self.removed is None else self.submitted - self.removed - self.indexed

    def flaws(self) -> dict[str, int]:
        """By how much each total is wrong, by the kind of finding; empty when all are right."""
        differences = {
            "equation": self.unaccounted,
            "numbered": self.numbered - self.submitted,
            "vanished": self.vanished,
        }
        return {kind: abs(n) for kind, n in differences.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of fault, how often it was found, and the first ids or keys that have it."""

    kind: str
    meaning: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A finished audit. ``records`` and ``keys`` were looked at, in ``seconds``."""

    totals: Totals
    findings: tuple[Finding, ...]
    records: int
    keys: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def findings(totals: Totals, suspicions: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Pairs of kind and id, and what is wrong with the totals, by kind."""
    counts = totals.flaws()
    ids: dict[str, list[str]] = {}
    for kind, name in sorted(suspicions):
        ids.setdefault(kind, []).append(name)
    counts |= {kind: len(names) for kind, names in ids.items()}
    return tuple(
        Finding(
            kind=kind,
            meaning=meaning,
            count=counts[kind],
            ids=tuple(ids.get(kind, [])[:MOST_IDS]),
        )
        for kind, meaning in KINDS.items()
        if kind in counts
    )
