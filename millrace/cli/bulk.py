"""``millrace submit --file``: a job on each line, and what became of each in the same order."""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from contract.errors import MillraceError, ServerUnreachableError
from millrace.cli.display import Display
from millrace.cli.failures import FAILED, OK, exit_code, one_line
from millrace.cli.job_lines import Line
from millrace.client import Client, Job, JobHandle

Outcome = JobHandle | MillraceError


def submit_lines(
    client: Client,
    display: Display,
    lines: Sequence[Line],
    *,
    wait: bool,
    timeout_s: float | None,
    idempotency_key: str | None,
    **defaults: Any,
) -> int:
    """Submit the jobs of ``lines``, show what became of each, and return the exit code.

    Prints ids, or JSON lines with the number of each job's line: what was accepted, or with
    ``wait`` what came of it in the end.
    """
    key = idempotency_key or str(uuid.uuid4())
    try:
        with display.progress("submitting") as tell:
            outcomes = client.submit_many(
                [job for _, job in lines],
                idempotency_key=key,
                on_progress=lambda done: tell(done, len(lines)),
                **defaults,
            )
        refused = [each for each in outcomes if isinstance(each, MillraceError)]
        display.note(f"{len(outcomes) - len(refused)} of {len(outcomes)} jobs accepted")
        if any(each.retryable for each in refused):
            _say_how_to_go_on(display, key)
        numbered = list(zip((number for number, _ in lines), outcomes, strict=True))
        if wait:
            return _worst(_wait(display, numbered, timeout_s))
        for number, outcome in numbered:
            _show(display, number, outcome)
        return _worst(exit_code(each) for each in refused)
    except KeyboardInterrupt:
        _say_how_to_go_on(display, key)
        raise
    except MillraceError as error:
        if error.retryable:
            _say_how_to_go_on(display, key)
        raise


def _show(display: Display, number: int, outcome: Outcome) -> None:
    if display.as_json:
        _show_json(display, number, outcome if isinstance(outcome, MillraceError) else outcome.job)
    elif isinstance(outcome, MillraceError):
        display.note(f"line {number}: {one_line(outcome)}")
    else:
        display.text(outcome.id)


def _show_json(display: Display, number: int, found: Job | MillraceError) -> None:
    if isinstance(found, Job):
        display.json({"line": number, "job": found})
    else:
        error = {"code": found.code, "detail": one_line(found), "retryable": found.retryable}
        display.json({"line": number, "error": error})


def _wait(
    display: Display, numbered: Sequence[tuple[int, Outcome]], timeout_s: float | None
) -> Iterator[int]:
    """Print each job when it and all before it have ended; their exit codes."""
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    # Where the answers scroll by, they are progress enough.
    bar: AbstractContextManager[Any]
    bar = nullcontext() if display.out.is_terminal else display.progress("waiting")
    with bar as tell:
        for done, (number, outcome) in enumerate(numbered, 1):
            found = outcome if isinstance(outcome, MillraceError) else _ended(outcome, end_s)
            _show_json(display, number, found)
            if tell is not None:
                tell(done, len(numbered))
            if isinstance(found, MillraceError):
                yield exit_code(found)
            else:
                yield OK if found.status == "completed" else FAILED


def _ended(handle: JobHandle, end_s: float | None) -> Job | MillraceError:
    try:
        return handle.wait(None if end_s is None else max(end_s - time.monotonic(), 0.001))
    except ServerUnreachableError:
        raise  # it would be the same for all that follow
    except MillraceError as error:
        return error


def _worst(codes: Iterable[int]) -> int:
    """Of several exit codes the one that says most: FAILED before those that may pass."""
    return min(set(codes) - {OK}, default=OK)


def _say_how_to_go_on(display: Display, key: str) -> None:
    display.note(f"the same command with --idempotency-key {key} goes on without a job twice")
