"""Many jobs in few calls."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from contract.errors import MillraceError, UnexpectedAnswerError
from millrace.client.problems import error_of
from millrace.client.records import Job, Json, parse
from millrace.client.transport import Transport

#: What one call holds at most: as many jobs as the server takes, and half of the bytes that it
#: takes unless it is set otherwise.
MOST_JOBS = 1000
MOST_BYTES = 4 << 20
_PATIENCE_S = 30.0  # the server may count the tokens of a thousand prompts

Outcome = Job | MillraceError
Body = Mapping[str, Json]


def merged(job: str | Mapping[str, Any], defaults: Body) -> dict[str, Json]:
    """The body of a job: a prompt, or fields as those of ``defaults``, which they go before."""
    said: dict[str, Json] = {"input": job} if isinstance(job, str) else dict(job)
    parameters: Json = said.get("parameters", {})
    if isinstance(parameters, Mapping):
        said["parameters"] = {**defaults["parameters"], **parameters}
    return {**defaults, **said}


def cut(bodies: Iterable[Body]) -> Iterator[list[Body]]:
    """The same in order, in lists that fit into one call each."""
    batch: list[Body] = []
    left_bytes = MOST_BYTES
    for body in bodies:
        size = _size(body)
        if batch and (len(batch) == MOST_JOBS or size > left_bytes):
            yield batch
            batch, left_bytes = [], MOST_BYTES
        batch.append(body)
        left_bytes -= size
    if batch:
        yield batch


def submit_all(
    transport: Transport, bodies: Iterable[Body], key: str, on_progress: Callable[[int], None]
) -> list[Outcome]:
    """What became of each job, in as many calls as it takes.

    Raises:
        MillraceError: the first call failed as a whole. When a later one does, that is the error
            of its jobs and of all behind them.
    """
    found: list[Outcome] = []
    failure: MillraceError | None = None
    for number, batch in enumerate(cut(bodies)):
        if failure is None:
            try:
                found += submit_batch(transport, batch, f"{key}.{number}")
            except MillraceError as error:
                if not found:
                    raise
                failure = error
        if failure is not None:
            found += [failure] * len(batch)
        on_progress(len(found))
    return found


def submit_batch(transport: Transport, bodies: Sequence[Body], key: str) -> list[Outcome]:
    """What became of each job of one call.

    While some are refused for now, the call is repeated when the first of them may be accepted:
    those that were accepted stay what they are, as they have their ``key``. Every further one
    that is accepted restores the transport's patience.

    Raises:
        MillraceError: the call failed as a whole, and was repeated as often as is worth it.
    """
    failures, fewest = 0, sys.maxsize
    while True:
        answer = transport.call(
            "POST",
            "/api/v1/jobs:batch",
            body={"jobs": list(bodies)},
            headers={"Idempotency-Key": key},
            patience_s=_PATIENCE_S,
        )
        entries = _read(answer, len(bodies))
        outcomes = [outcome for outcome, _ in entries]
        refused = [
            (outcome, wait_s)
            for outcome, wait_s in entries
            if isinstance(outcome, MillraceError) and outcome.retryable
        ]
        if not refused:
            return outcomes
        failures = 1 if len(refused) < fewest else failures + 1
        fewest = min(fewest, len(refused))
        error, wait_s = min(refused, key=lambda each: each[1])
        try:
            transport.pause(error, failures, wait_s)
        except MillraceError:
            return outcomes


def _size(body: Body) -> int:
    # A text that is no Unicode is told when it is sent.
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _read(answer: Json, count: int) -> list[tuple[Outcome, float]]:
    """Each outcome, with the seconds after which it is worth another try."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list) or len(entries) != count:
        raise UnexpectedAnswerError(f"the server did not say what became of each of {count} jobs")
    return [_entry(each) for each in entries]


def _entry(entry: Json) -> tuple[Outcome, float]:
    found = entry if isinstance(entry, dict) else {}
    if "job" in found:
        return parse(Job, found["job"]), 0.0
    problem, wait_s = found.get("error"), found.get("retry_after_s")
    if not isinstance(problem, dict) or "code" not in problem:
        raise UnexpectedAnswerError("the server refused a job of the batch without saying why")
    seconds = float(wait_s) if isinstance(wait_s, int | float) and wait_s > 0 else 0.0
    return error_of(problem, seconds), seconds
