"""The audit: proves on a live Redis that nothing is lost, and says what is where it should not be.

It looks at everything in small steps while the system works, remembers what looks wrong, looks
at that again after a while, and reports what is still so. It writes nothing.
"""

import hashlib
import time
from collections.abc import Callable, Iterable

from contract import keys
from contract.job import TERMINAL, JobState
from contract.settings import Settings
from contract.store.audit_report import Audit, Totals, findings
from contract.store.audit_walk import Check, Suspicion, look, walk
from contract.store.connection import Connection, translated

SETTLE_S = 2.5  # longer than the reaper takes to notice something and act
_STATES = tuple(JobState)


def audit(
    connection: Connection,
    settings: Settings,
    *,
    settle_s: float = SETTLE_S,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Audit:
    """Examine the whole store; what was found wrong is looked at again after ``settle_s``.

    ``settings`` are those of the workers: their lease is the measure of leases. ``progress`` is
    told how much of how much has been looked at.

    Raises:
        StoreUnavailableError: Redis did not answer.
    """
    began = time.monotonic()
    before = read_totals(connection)
    with translated():
        whole = before.indexed + int(connection.redis.dbsize())
    records = seen_keys = 0
    suspicions: set[Suspicion] = set()
    for check, subjects in walk(connection, int(settings.lease_s * 1000)):
        suspicions |= look(connection, check, subjects)
        records += len(subjects) if check.script == "audit_records" else 0
        seen_keys += len(subjects) if check.script == "audit_keys" else 0
        progress(min(records + seen_keys, whole), whole)
    if suspicions:
        time.sleep(settle_s)
        suspicions &= look_again(connection, suspicions)
    progress(whole, whole)
    totals = read_totals(connection)
    return Audit(
        totals=totals,
        findings=findings(totals, {(each.kind, _shown(each)) for each in suspicions}),
        records=records,
        keys=seen_keys,
        seconds=time.monotonic() - began,
    )


def look_again(connection: Connection, suspicions: Iterable[Suspicion]) -> set[Suspicion]:
    """What the same checks say now of the same subjects."""
    again: dict[Check, set[str]] = {}
    for each in suspicions:
        again.setdefault(each.check, set()).add(each.subject)
    found: set[Suspicion] = set()
    for check, subjects in again.items():
        rest = sorted(subjects)
        for first in range(0, len(rest), check.most):
            found |= look(connection, check, rest[first : first + check.most])
    return found


def read_totals(connection: Connection) -> Totals:
    """The totals of this moment. Raises StoreUnavailableError."""
    flat, numbered, indexed, dead, reaped_ms, *present = connection.run("audit_totals", *_STATES)
    counted = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
    return Totals(
        submitted=counted.get("jobs_submitted", 0),
        redriven=counted.get("jobs_redriven", 0),
        removed=counted.get("jobs_removed"),
        numbered=numbered,
        indexed=indexed,
        dead=dead,
        ended={s: counted.get(f"jobs_{s}", 0) for s in _STATES if s in TERMINAL},
        present=dict(zip(_STATES, present, strict=True)),
        reaped_s_ago=None if reaped_ms == "" else reaped_ms / 1000,
    )


def _shown(suspicion: Suspicion) -> str:
    """A job's id, or a key and what it holds. A client's own key or prompt is never shown."""
    where, subject = suspicion.check.where, suspicion.subject
    if where == keys.IDEMPOTENCY(""):
        subject = hashlib.sha256(subject.encode()).hexdigest()[:12]
    return f"{where} {subject}" if suspicion.check.script == "audit_members" else where + subject
