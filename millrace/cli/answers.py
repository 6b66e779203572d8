"""How the answer of a job is shown."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from millrace.cli.display import Display
from millrace.client import Job

_REASONS = {
    "no_worker": "no live worker serves its model",
    "no_capacity": "every slot is taken",
    "shared_run": "an identical job runs for both",
}


def show_output(display: Display, job: Job) -> None:
    """Print a finished job's answer; in JSON mode the whole job, whatever became of it.

    Raises:
        MillraceError: the job has no answer.
    """
    if display.as_json:
        display.json(job)
        job.result()
        return
    output = job.result()
    if isinstance(output, Mapping) and "text" in output:
        display.text(output["text"])
    else:
        display.text(json.dumps(output))


def show_job(display: Display, job: Job) -> None:
    """Print what is known about a job."""
    if display.as_json:
        display.json(job)
        return
    record: dict[str, Any] = dataclasses.asdict(job)
    output = record.pop("output", None)
    for name in ("created_at", "started_at", "completed_at", "expires_at"):
        record[name] = moment(record[name])
    display.fields(record)
    if isinstance(output, Mapping) and "text" in output:
        display.fields({"output": output["text"]})


def moment(seconds: float | None) -> str:
    """A time as the local clock of the reader shows it."""
    from datetime import datetime

    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def state_of(job: Job) -> str:
    """A job's state in words: where it waits, and why."""
    state = job.status.replace("_", " ")
    if job.queue_position and job.queue_position > 1:
        state += f", number {job.queue_position} in line"
    reason = _REASONS.get(job.waiting_reason or "")
    return f"{state} ({reason})" if reason else state
