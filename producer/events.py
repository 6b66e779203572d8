"""A job's events as a stream of server-sent events, and waiting for a job's end."""

import json
import time
from collections.abc import Iterator, Sequence

from contract.errors import (
    JobGoneError,
    StoreReplacedError,
    StoreUnavailableError,
    UnknownJobError,
)
from contract.job import Event, Job
from contract.store import JobStore
from producer.wakeups import EventHub, Subscription

EVENT_STREAM = "text/event-stream"
#: A comment goes out this often when nothing happens, so that nobody takes the line for dead.
HEARTBEAT_S = 15.0
#: A waiter looks at the record this often, whatever it has heard.
LOOK_S = 5.0
_RETRY_MS = 1000
_DONE = "done"


def stream_events(
    store: JobStore,
    hub: EventHub,
    job_id: str,
    *,
    after: str,
    heartbeat_s: float = HEARTBEAT_S,
) -> Iterator[bytes]:
    """Server-sent events of a job behind the stream id ``after``; ends after ``done``.

    Each has its stream id, so a reader that lost the line goes on with ``Last-Event-ID``. While
    Redis is away the line stays open and silent. When the process ends, the line does too.
    """
    with hub.subscribe(job_id, after) as reader:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        while not reader.closed:
            try:
                events = _running_only(reader.take(heartbeat_s))
                if events:
                    yield b"".join(_encode(event) for event in events)
                    if events[-1].kind == _DONE:
                        return
                elif not reader.closed:
                    missed = _missed_end(store, reader)
                    yield b": waiting\n\n" if missed is None else missed
                    if missed is not None:
                        return
            except (JobGoneError, UnknownJobError, StoreReplacedError):
                return
            except StoreUnavailableError:
                yield b": waiting for the store\n\n"
                hub.closing.wait(1.0)


def has_news(store: JobStore, job: Job, after: str) -> bool:
    """Whether a stream behind ``after`` has, or will have, anything to say.

    Raises:
        StoreUnavailableError: Redis did not answer.
    """
    return not job.finished or bool(store.read_events({job.id: after})[job.id])


def wait_for_end(store: JobStore, hub: EventHub, job_id: str, timeout_s: float) -> Job:
    """The job as it is when it ends, or after ``timeout_s``.

    Raises:
        UnknownJobError, JobGoneError: there is no record, or it went away meanwhile.
        StoreUnavailableError: Redis did not answer.
    """
    if timeout_s <= 0:
        return store.get(job_id)
    due_s = time.monotonic() + timeout_s
    with hub.end_of(job_id) as rung:
        job = store.get(job_id)
        while not job.finished and not hub.closing.is_set():
            left_s = due_s - time.monotonic()
            if left_s <= 0:
                break
            rung.wait(min(left_s, LOOK_S))
            rung.clear()
            job = store.get(job_id)
    return job


def _running_only(events: Sequence[Event]) -> list[Event]:
    """Without a ``done`` that more follows: that was the end of a run before a redrive."""
    return [event for event in events[:-1] if event.kind != _DONE] + list(events[-1:])


def _missed_end(store: JobStore, reader: Subscription) -> bytes | None:
    """A last event made from the record, if the job has ended and its stream does not say so."""
    job = store.get(reader.job_id)
    if not job.finished:
        return None
    reader.lag()
    events = _running_only(reader.take(0.0))
    if events and events[-1].kind == _DONE:
        return b"".join(_encode(event) for event in events)
    data = json.dumps({"status": job.state, "attempt": job.attempts})
    return f"event: {_DONE}\ndata: {data}\n\n".encode()


def _encode(event: Event) -> bytes:
    data = json.dumps({**event.data, "attempt": event.attempt}, ensure_ascii=False)
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode()
