"""A job's answer as it is made, and what it took."""

import itertools
import time

from contract.errors import MillraceError
from millrace.cli.answers import state_of
from millrace.cli.display import Display
from millrace.client import Job, JobHandle


def follow(handle: JobHandle, display: Display) -> None:
    """Print a job's text piece by piece. Raises what became of it, where that is no text."""
    began = time.monotonic()
    pieces = handle.stream()
    try:
        with display.working(f"{state_of(handle.job)}, waiting for the first token"):
            first = next(pieces, "")
            first_s = time.monotonic() - began
        for text in itertools.chain([first], pieces):
            if display.as_json:
                display.json({"type": "text", "text": text})
            else:
                display.piece(text)
    except KeyboardInterrupt:
        display.note(f"\njob {handle.id} goes on; `millrace cancel {handle.id}` stops it")
        raise
    except MillraceError:
        if not display.as_json:
            display.piece("\n")  # the error has a line of its own
        raise
    if display.as_json:
        display.json({"type": "job", "job": handle.job})
    else:
        display.piece("\n")
        display.note(_summary(handle.job, first_s, time.monotonic() - began))


def _summary(job: Job, first_s: float, total_s: float) -> str:
    """One line about a finished stream: tokens, speed and waits, as the caller saw them."""
    tokens = (job.usage or {}).get("completion_tokens", 0)
    said = [f"{tokens} tokens in {total_s:.2f} s"]
    if not job.cached:
        said.append(f"first after {first_s:.2f} s")
        if tokens > 1 and total_s > first_s:
            said.append(f"then {(tokens - 1) / (total_s - first_s):.0f} tokens/s")
    if job.cached:
        said.append("from the cache")
    return f"[{job.model}: {', '.join(said)}]"
