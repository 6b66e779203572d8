"""A job's events, over as many connections as it takes."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

from contract.errors import (
    InvalidRequestError,
    MillraceError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from millrace.client.records import Event
from millrace.client.sse import ServerSentEvent, read_events
from millrace.client.transport import Transport


def follow(transport: Transport, job_id: str, *, after: str = "") -> Iterator[Event]:
    """Every event of a job after the one with id ``after``, ending with ``done``.

    A connection that breaks is made anew from the last event seen (``Last-Event-ID``), with the
    transport's pauses; each event that was not here before restores its patience.
    """
    last_id, failures, reached = after, 0, _order(after)
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        error: MillraceError = ServerUnreachableError(
            f"the stream of job {job_id} ended before the job did"
        )
        try:
            with transport.stream(f"{job_path(job_id)}/events", headers) as chunks:
                if chunks is None:
                    return  # the last event was seen before
                for received in read_events(chunks):
                    event = _event(received)
                    last_id = event.id or last_id
                    # A server that says the same again and again is not getting anywhere.
                    if _order(event.id) > reached:
                        reached, failures = _order(event.id), 0
                    yield event
                    if event.kind == "done":
                        return
        except MillraceError as cause:
            if not cause.retryable:
                raise
            error = cause
        failures += 1
        transport.pause(error, failures)


def job_path(job_id: str) -> str:
    """Where a job is; its id may be anything that a user or a server says."""
    try:
        return f"/api/v1/jobs/{quote(job_id, safe='')}"
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{job_id!r} is not the id of a job") from error


def _order(event_id: str) -> tuple[int, int]:
    """Where an event stands among the others of its job."""
    match = re.fullmatch(r"([0-9]{1,20})-([0-9]{1,20})", event_id)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _event(received: ServerSentEvent) -> Event:
    try:
        data = json.loads(received.data)
        attempt, offset = data.get("attempt") or 0, data.get("offset") or 0
        if received.name == "token" and not isinstance(data.get("text"), str):
            raise ValueError("a token without text")
        if type(attempt) is not int or type(offset) is not int or offset < 0:
            raise ValueError("an attempt or an offset that is not a count")
        return Event(id=received.id, kind=received.name, attempt=attempt, data=data)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UnexpectedAnswerError(
            f"an event of the stream was not understood: {error}"
        ) from error
