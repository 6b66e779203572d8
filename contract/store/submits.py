"""SUBMIT, for one job or many: its arguments, its round trips, and what its answers mean."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from contract.errors import (
    IdempotencyConflictError,
    MillraceError,
    NotReplicatedError,
    NoWorkerError,
    QueueFullError,
    StoreUnavailableError,
    UnknownJobError,
)
from contract.job import NewJob, Submission
from contract.settings import Settings
from contract.store import rows
from contract.store.connection import Connection
from contract.store.identity import Seen, StoreIdentity

#: Jobs that go to Redis in one round trip: about 10 ms of its time.
SUBMITS_AT_ONCE = 100
REPLICAS_TIMEOUT_S = 1.0
_MAX_RETRY_AFTER_S = 120  # above it the openai client does not retry at all


def arguments(new: NewJob, settings: Settings, store_id: str, *, with_output: bool) -> list[Any]:
    """What SUBMIT is called with."""
    return [
        new.id, new.queue, new.model, new.model_version, new.digest, new.task,
        _dumps({"input": new.input, "parameters": new.parameters}), new.priority,
        _dumps(new.metadata), None if new.deadline_s is None else int(new.deadline_s * 1000),
        new.fingerprint if settings.cache_ttl_s > 0 else None,
        new.idempotency_key, new.body_sha256, settings.max_backlog,
        int(settings.result_ttl_s * 1000), int(settings.require_worker),
        int(settings.lease_s * 1000), store_id, int(with_output), new.hint,
    ]  # fmt: skip


def outcome(
    answer: Any, new: NewJob, settings: Settings, identity: StoreIdentity, known: Seen
) -> Submission:
    """What an answer of SUBMIT says, asked when ``known`` was. Raises what JobStore.submit does."""
    match answer[0]:
        case "replaced":
            identity.require()
            raise StoreUnavailableError("Redis was another store for a moment")
        case "recorded":
            _, job_id, sequence, row = answer
            if sequence:
                identity.note(known, known.id, int(sequence))
        case "replayed":
            _, job_id, row = answer
        case _:
            raise _refusal(answer, new, settings)
    try:
        job = rows.job(job_id, row)
    except UnknownJobError:
        identity.require()  # a store that lost its jobs must not deny them
        raise
    return Submission(job=job, replayed=answer[0] == "replayed")


def _refusal(answer: Sequence[Any], new: NewJob, settings: Settings) -> MillraceError:
    """The error that SUBMIT means by its answer."""
    match answer[0]:
        case "conflict":
            return IdempotencyConflictError(
                "this Idempotency-Key was used with another request body; use a new key"
            )
        case "no_worker":
            return NoWorkerError(f"no worker serves {new.model}; try again when one is up")
    full = f"{answer[1]} jobs wait for {new.model}, the limit is {settings.max_backlog}"
    if answer[1] < settings.max_backlog:
        full += "; the places left are held for clients who were told to come back now"
    return QueueFullError(full, retry_after_s=_retry_after_s(answer[2]))


def too_few(reached: int, wanted: int) -> NotReplicatedError:
    """The error that says so."""
    return NotReplicatedError(
        f"{reached} replicas have it, {wanted} must: repeat the request, a submit with its"
        " Idempotency-Key"
    )


def submit_many(
    connection: Connection, settings: Settings, news: Sequence[NewJob]
) -> list[Submission | MillraceError]:
    """See :meth:`JobStore.submit_many`."""
    found: list[Submission | MillraceError] = []
    while len(found) < len(news):
        batch = _Batch(connection, settings, news[len(found) : len(found) + SUBMITS_AT_ONCE])
        outcomes = list(batch.submit())
        found += outcomes
        failed = next((each for each in outcomes if isinstance(each, StoreUnavailableError)), None)
        if failed is not None:
            untried = f"not tried, since Redis failed on another: {failed.detail}"
            found += [StoreUnavailableError(untried)] * (len(news) - len(found))
    return found


class _Batch:
    """Jobs that are submitted in one round trip."""

    def __init__(self, connection: Connection, settings: Settings, news: Sequence[NewJob]) -> None:
        self._connection = connection
        self._settings = settings
        self._news = news

    def submit(self) -> Iterator[Submission | MillraceError]:
        """What became of each."""
        s = self._settings
        try:
            known = self._connection.identity.known()
            answers, reached = self._connection.run_many(
                [("submit", arguments(n, s, known.id, with_output=False)) for n in self._news],
                replicas=s.min_replicas,
                timeout_s=REPLICAS_TIMEOUT_S,
            )
        except StoreUnavailableError as error:
            yield from [error] * len(self._news)
            return
        for new, answer in zip(self._news, answers, strict=True):
            try:
                yield self._outcome(new, answer, known, reached)
            except MillraceError as error:
                yield error

    def _outcome(self, new: NewJob, answer: Any, known: Seen, reached: int) -> Submission:
        if isinstance(answer, MillraceError):
            raise answer
        made = outcome(answer, new, self._settings, self._connection.identity, known)
        if reached < self._settings.min_replicas:
            raise too_few(reached, self._settings.min_replicas)
        return made


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _retry_after_s(seconds: str) -> int:
    """Whole seconds until there is room; 5 when no rate has been measured."""
    return min(max(math.ceil(float(seconds)), 1), _MAX_RETRY_AFTER_S) if seconds else 5
