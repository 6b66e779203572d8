"""A call that waits for its jobs, and ends them when the client leaves."""

import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import structlog

from contract import errors
from contract.errors import (
    InvalidRequestError,
    JobFailedError,
    MillraceError,
    RunCancelledError,
    StoreUnavailableError,
    UnknownModelError,
)
from contract.job import Job, JobState, Submission
from contract.transcript import Transcript
from producer.events import wait_for_end
from producer.front import Front
from producer.openai.endpoints import Endpoint
from producer.request_schemas import Body, EmbedRequest, GenerateRequest
from producer.wakeups import FROM_START

#: A waiting call looks this often whether its client is still there.
LOOK_S = 2.0
_PAUSE_S = 0.5

_log = structlog.get_logger()

Gone = Callable[[], bool]

#: What may be wrong with a request that only its worker finds out; all else is the server's fault.
_ENDS: Mapping[str, type[MillraceError]] = {
    each.code: each
    for each in (
        InvalidRequestError,
        errors.EmptyPromptError,
        errors.PromptTooLongError,
        errors.DeadlineExceededError,
    )
}


def submit(
    front: Front, endpoint: Endpoint, body: Body, *, raw: Any, idempotency_key: str | None
) -> list[Submission]:
    """Record the jobs of a call, one for each answer; all or none.

    Raises:
        MillraceError: as :func:`submit_one`.
    """
    with ExitStack() as stack:
        found = []
        for number, native in enumerate(endpoint.native(body)):
            key = idempotency_key
            if key is not None and number:  # no client can send a key with a space
                key = f"{key} {number}"
            made = submit_one(
                front, native, raw=raw, idempotency_key=key, input_name=endpoint.input_name
            )
            stack.enter_context(ending_with_its_client(front, made))
            found.append(made)
        return found


def submit_one(
    front: Front,
    native: GenerateRequest | EmbedRequest,
    *,
    raw: Any,
    idempotency_key: str | None,
    input_name: str = "input",
) -> Submission:
    """Record the job of a call, whose own name for the input is ``input_name``.

    Raises:
        UnknownModelError: the model is none for this call.
        MillraceError: as :meth:`Admission.admit`; what is wrong has the names of the call.
    """
    try:
        return front.admission.admit(native, raw=raw, idempotency_key=idempotency_key)
    except InvalidRequestError as error:
        if any(each.pointer == "/task" for each in error.errors):
            raise UnknownModelError(f"{error.detail}: it cannot answer this call") from None
        names = {"/input": f"/{input_name}"}
        error.errors = tuple(
            replace(each, pointer=names.get(each.pointer, each.pointer)) for each in error.errors
        )
        raise


def client_of(environ: Mapping[str, Any]) -> Gone:
    """Whether the client of a request has closed its connection; the server's socket tells."""
    connection: socket.socket | None = environ.get("gunicorn.socket")

    def gone() -> bool:
        if connection is None:
            return False
        try:
            readable, _, _ = select.select([connection], [], [], 0)
            return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    return gone


@contextmanager
def ending_with_its_client(front: Front, submission: Submission) -> Iterator[None]:
    """Cancel the job of a call that is left before its end; not a job of an earlier call."""
    ended = False
    try:
        yield
        ended = True
    finally:
        if not ended and not submission.replayed:
            _cancel(front, submission.job)


def results_of(front: Front, submissions: Sequence[Submission], gone: Gone) -> list[Job]:
    """The completed jobs.

    Raises:
        MillraceError: one ended otherwise, the client left, or this process is about to end.
    """
    with ExitStack() as stack:
        for each in submissions:
            stack.enter_context(ending_with_its_client(front, each))
        return [completed(_end_of(front, each.job, gone)) for each in submissions]


def _end_of(front: Front, job: Job, gone: Gone) -> Job:
    while not job.finished:
        _require_client(front, gone)
        try:
            job = wait_for_end(front.store, front.hub, job.id, LOOK_S)
        except errors.StoreReplacedError:
            raise
        except StoreUnavailableError:
            front.hub.closing.wait(_PAUSE_S)
    return job


def pieces_of(front: Front, submission: Submission, gone: Gone) -> Iterator[str | Job]:
    """As :func:`follow`; a job that is left before its end is cancelled."""
    with ending_with_its_client(front, submission):
        yield from follow(front, submission.job, gone)


def follow(front: Front, job: Job, gone: Gone, *, replay: bool = False) -> Iterator[str | Job]:
    """The text of a job as it comes, each part once whatever its attempts; last, the job.

    The parts are those of the job's events, so they are the same whenever they are read; of a job
    that has ended they are read only for ``replay``, else its text is one. An empty one says that
    nothing has come for a while.

    Raises:
        MillraceError: as :func:`results_of`; StreamDivergedError where a second attempt gave
            other text than the first.
    """
    transcript, told = Transcript(job.id), job.finished and not replay
    with front.hub.subscribe(job.id, FROM_START) as reader:
        while not told:
            _require_client(front, gone)
            try:
                events = reader.take(LOOK_S)
                for event in events:
                    if event.kind == "token":
                        new = transcript.add(event.data.get("offset") or 0, event.data["text"])
                        if new:
                            yield new
                if not events:
                    yield ""
                if not events or events[-1].kind == "done":
                    job = front.store.get(job.id)
                    told = job.finished
            except errors.StoreReplacedError:
                raise
            except StoreUnavailableError:
                front.hub.closing.wait(_PAUSE_S)
    rest = transcript.complete(completed(job).output["text"])
    if rest:
        yield rest
    yield job


def completed(job: Job) -> Job:
    """``job``, which has ended. Raises what its end means, if it has no result."""
    if job.state is JobState.COMPLETED:
        return job
    if job.state is JobState.CANCELLED:
        raise RunCancelledError(f"job {job.id} was cancelled")
    error = job.error or {}
    kind = _ENDS.get(str(error.get("code")), JobFailedError)
    raise kind(f"job {job.id} is {job.state}: {error.get('message', 'no cause was recorded')}")


def _require_client(front: Front, gone: Gone) -> None:
    if gone():
        raise RunCancelledError("the client has left")
    if front.hub.closing.is_set():
        raise StoreUnavailableError("this server is being restarted; ask again")


def _cancel(front: Front, job: Job) -> None:
    try:
        front.cancel(job.id)
        _log.info("call.left", job=job.id)
    except MillraceError as error:
        _log.warning("call.left", job=job.id, error=error.detail)
