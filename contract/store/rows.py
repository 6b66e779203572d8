"""What Redis returns, as the values of ``contract.job``."""

import json
from collections.abc import Sequence
from typing import Any

from contract.errors import JobGoneError, UnknownJobError
from contract.job import Event, Job, JobState, WaitingReason, WorkerRecord

#: The fields of a job's hash that a reader sees, in the order in which VIEW returns them.
FIELDS = (
    "id", "state", "queue", "model", "model_version", "digest", "task", "parameters", "priority",
    "metadata", "created_ms", "started_ms", "finished_ms", "deadline_ms", "expires_ms", "attempt",
    "failures", "losses", "worker", "progress", "usage", "output", "error", "cached", "dead",
)  # fmt: skip


def job(job_id: str, row: Any) -> Job:
    """A row of VIEW as a job.

    Raises:
        UnknownJobError, JobGoneError: there is no record (any more).
    """
    if row == "unknown":
        raise UnknownJobError(f"no job has the id {job_id!r}")
    if row == "gone":
        raise JobGoneError(f"the record of job {job_id!r} has passed its retention time")
    values, position, live, free, slots, rate, run_ms, now, waits_in = row
    f = dict(zip(FIELDS, values, strict=True))
    state = JobState(f["state"])
    rank = int(position) if position != "" else None
    return Job(
        id=f["id"],
        state=state,
        queue=f["queue"],
        model=f["model"],
        model_version=int(f["model_version"]),
        digest=f["digest"],
        task=f["task"],
        parameters=json.loads(f["parameters"]),
        priority=int(f["priority"]),
        metadata=json.loads(f["metadata"]),
        created_ms=int(f["created_ms"]),
        started_ms=_whole(f["started_ms"]),
        finished_ms=_whole(f["finished_ms"]),
        deadline_ms=_whole(f["deadline_ms"]),
        expires_ms=_whole(f["expires_ms"]),
        attempts=int(f["attempt"]),
        failures=int(f["failures"]),
        losses=int(f["losses"]),
        worker=f["worker"] or None,
        progress=_whole(f["progress"]),
        usage=_json(f["usage"]),
        output=_json(f["output"]),
        error=_json(f["error"]),
        cached=f["cached"] == "1",
        dead=f["dead"] == "1",
        queue_position=rank,
        eta_s=_eta_s(state, rank, free, slots, rate, run_ms, now, _whole(f["started_ms"])),
        waiting_reason=_waiting_reason(waits_in, rank, live, free),
    )


def _whole(text: str) -> int | None:
    return int(float(text)) if text else None


def _json(text: str) -> Any:
    return json.loads(text) if text else None


def _waiting_reason(waits_in: str, rank: int | None, live: int, free: int) -> WaitingReason | None:
    if waits_in == "retrying":
        return WaitingReason.RETRY_BACKOFF
    if waits_in == "following":
        return WaitingReason.SHARED_RUN
    if waits_in not in ("pending", "suspect"):
        return None
    if live == 0:
        return WaitingReason.NO_WORKER
    if waits_in == "suspect":
        return WaitingReason.ISOLATION
    # With a free slot for it, the job is about to be claimed and nothing holds it up.
    return WaitingReason.NO_CAPACITY if rank is None or rank > free else None


def _eta_s(
    state: JobState,
    rank: int | None,
    free: int,
    slots: int,
    rate: str,
    run_ms: str,
    now: int,
    started_ms: int | None,
) -> float | None:
    """Expected seconds to the end, from the queue's measured rates; None when they are unknown."""
    if not run_ms or not slots:
        return None
    run_s = float(run_ms) / 1000
    if state is JobState.IN_PROGRESS and started_ms is not None:
        return round(max(run_s - (now - started_ms) / 1000, 0.0), 2)
    if state is not JobState.QUEUED or rank is None:
        return None
    ahead = max(rank - free, 0)
    if ahead and not rate:
        return None
    return round(run_s + (ahead / float(rate) if ahead else 0.0), 2)


def event(stream_id: str, fields: dict[str, str]) -> Event:
    """An entry of a job's stream."""
    return Event(
        id=stream_id,
        kind=fields["kind"],
        attempt=int(fields["attempt"]),
        data=json.loads(fields["data"]),
    )


def worker(worker_id: str, f: dict[str, str], running: int) -> WorkerRecord:
    """A worker's hash."""
    return WorkerRecord(
        id=worker_id,
        host=f["host"],
        pid=int(f["pid"]),
        device=f["device"],
        models=json.loads(f["models"]),
        slots=int(f["slots"]),
        running=running,
        state=f["state"],
        started_ms=int(f["started_ms"]),
        last_seen_ms=int(f["last_seen_ms"]),
    )


def pairs(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Consecutive elements, two by two."""
    return list(zip(flat[::2], flat[1::2], strict=True))
