"""What Redis returns, as the values of ``contract.job``."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contract.errors import JobGoneError, UnknownJobError
from contract.job import Event, Job, JobState, WaitingReason, WorkerRecord


def job(job_id: str, row: Any) -> Job:
    """A row of VIEW (``lua/parts/view.lua``) as a job.

    Raises:
        UnknownJobError, JobGoneError: there is no record (any more).
    """
    if row == "unknown":
        raise UnknownJobError(f"no job has the id {job_id!r}")
    if row == "gone":
        raise JobGoneError(f"the record of job {job_id!r} has passed its retention time")
    record, output = row
    f = json.loads(record)
    state, rank = JobState(f["state"]), f.get("position")
    return Job(
        id=job_id,
        state=state,
        queue=f["queue"],
        model=f["model"],
        model_version=int(f["model_version"]),
        digest=f["digest"],
        task=f["task"],
        priority=int(f["priority"]),
        metadata=json.loads(f["metadata"]),
        created_ms=int(f["created_ms"]),
        started_ms=_whole(f.get("started_ms")),
        finished_ms=_whole(f.get("finished_ms")),
        deadline_ms=_whole(f.get("deadline_ms")),
        expires_ms=_whole(f.get("expires_ms")),
        attempts=int(f["attempt"]),
        failures=int(f["failures"]),
        losses=int(f["losses"]),
        worker=f.get("worker"),
        progress=_whole(f.get("progress")),
        usage=_json(f.get("usage")),
        output=_json(output),
        error=_json(f.get("error")),
        cached=f.get("cached") == "1",
        dead=f.get("dead") == "1",
        queue_position=rank,
        eta_s=_eta_s(state, f),
        waiting_reason=_waiting_reason(f),
    )


def _whole(text: str | None) -> int | None:
    return int(float(text)) if text else None


def _json(text: str | None) -> Any:
    return json.loads(text) if text else None


def _waiting_reason(f: Mapping[str, Any]) -> WaitingReason | None:
    waits_in, rank = f.get("waits_in"), f.get("position")
    if waits_in == "retrying":
        return WaitingReason.RETRY_BACKOFF
    if waits_in == "following":
        return WaitingReason.SHARED_RUN
    if waits_in not in ("pending", "suspect"):
        return None
    if f["live"] == 0:
        return WaitingReason.NO_WORKER
    if waits_in == "suspect":
        return WaitingReason.ISOLATION
    # With a free slot for it, the job is about to be claimed and nothing holds it up.
    return WaitingReason.NO_CAPACITY if rank is None or rank > f["free"] else None


def _eta_s(state: JobState, f: Mapping[str, Any]) -> float | None:
    """Expected seconds to the end, from the queue's measured rates; None when they are unknown."""
    if "run_ms" not in f or not f["slots"]:
        return None
    run_s = float(f["run_ms"]) / 1000
    if state is JobState.IN_PROGRESS and "started_ms" in f:
        ran_s = (int(f["now"]) - int(f["started_ms"])) / 1000
        return round(max(run_s - ran_s, 0.0), 2)
    if state is not JobState.QUEUED or "position" not in f:
        return None
    ahead, rate = max(int(f["position"]) - int(f["free"]), 0), float(f.get("rate", 0.0))
    if ahead and not rate:
        return None
    return round(run_s + (ahead / rate if ahead else 0.0), 2)


def event(stream_id: str, fields: dict[str, str]) -> Event:
    """An entry of a job's stream."""
    return Event(
        id=stream_id,
        kind=fields["kind"],
        attempt=int(fields["attempt"]),
        data=json.loads(fields["data"]),
    )


#: Ids before those of every entry of a stream.
_QUEUED_ID, _DONE_ID = "0-1", "0-2"
EARLY_FIELDS = ("state", "attempt", "cached")


def is_early(stream_id: str) -> bool:
    """Whether a reader that has come so far may miss events that are in no stream."""
    return stream_id in ("0-0", _QUEUED_ID)


def early_events(after: str, record: Sequence[str | None], entries: Sequence[Event]) -> list[Event]:
    """The entries of a stream behind ``after``, with what its job's record says beside them."""
    state, attempt, cached = record
    found = list(entries)
    if state is None:
        return found
    if not found and cached == "1":
        found = [Event(id=_DONE_ID, kind="done", attempt=int(attempt or 0), data={"status": state})]
    if after != _QUEUED_ID:
        queued = Event(id=_QUEUED_ID, kind="status", attempt=0, data={"status": "queued"})
        found.insert(0, queued)
    return found


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
