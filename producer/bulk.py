"""From the jobs of one call to recorded jobs: a wrong one is refused, and the others go on."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from contract.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    MillraceError,
    StoreUnavailableError,
)
from contract.job import NewJob, Submission
from contract.store import SUBMITS_AT_ONCE, JobStore
from producer.admission import Admission
from producer.parsing import parse_body
from producer.prompts import CountsTokens
from producer.token_counter import TokenCount

#: The prompts of one call are counted for so long; the worker settles the rest.
COUNTING_S = 10.0

Outcome = Submission | MillraceError

_log = structlog.get_logger()


class PatientCounter:
    """Counts tokens until that has taken ``limit_s`` in all; then it settles nothing any more."""

    def __init__(
        self,
        counter: CountsTokens,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counter = counter
        self._left_s = limit_s
        self._clock = clock

    def count(self, folder: Any, stored_input: Mapping[str, Any]) -> TokenCount:
        """See TokenCounter."""
        if self._left_s <= 0:
            return TokenCount()
        began_s = self._clock()
        try:
            return self._counter.count(folder, stored_input)
        finally:
            self._left_s -= self._clock() - began_s


class BulkAdmission:
    """Decides which jobs of a call are accepted, and records them."""

    def __init__(
        self,
        *,
        admission: Admission,
        store: JobStore,
        counter: CountsTokens,
        max_job_bytes: int,
    ) -> None:
        self._admission = admission
        self._store = store
        self._counter = counter
        self._max_job_bytes = max_job_bytes

    def admit(self, jobs: Sequence[Any], *, idempotency_key: str | None) -> list[Outcome]:
        """Record ``jobs`` as far as possible and tell the workers; what became of each.

        Raises:
            StoreUnavailableError: Redis failed, and no job was accepted.
        """
        counter = PatientCounter(self._counter, COUNTING_S)
        found: list[Outcome] = []
        failed: StoreUnavailableError | None = None
        for first in range(0, len(jobs), SUBMITS_AT_ONCE):
            chunk = jobs[first : first + SUBMITS_AT_ONCE]
            if failed is not None:
                found += [StoreUnavailableError(f"not tried: {failed.detail}")] * len(chunk)
                continue
            outcomes = self._record(
                [
                    self._prepare(place, raw, idempotency_key, counter)
                    for place, raw in enumerate(chunk, first)
                ]
            )
            found += outcomes
            failed = next(
                (each for each in outcomes if isinstance(each, StoreUnavailableError)), None
            )
        if failed is not None and not any(isinstance(each, Submission) for each in found):
            raise failed
        _tell(found)
        return found

    def _prepare(
        self, place: int, raw: Any, idempotency_key: str | None, counter: CountsTokens
    ) -> NewJob | MillraceError:
        time.sleep(0)  # a thousand jobs take a while: other requests have their turns in between
        try:
            _require_size(raw, self._max_job_bytes)
            request = parse_body(self._admission.choose(raw), raw, what=f"job {place}")
            # No client can send a key with a space, so this one is no single submit's.
            key = None if idempotency_key is None else f"{idempotency_key} {place}"
            return self._admission.prepare(request, raw=raw, idempotency_key=key, counter=counter)
        except MillraceError as error:
            return error

    def _record(self, prepared: Sequence[NewJob | MillraceError]) -> list[Outcome]:
        news = [each for each in prepared if isinstance(each, NewJob)]
        recorded = iter(self._store.submit_many(news))
        return [next(recorded) if isinstance(each, NewJob) else each for each in prepared]


def _require_size(raw: Any, max_bytes: int) -> None:
    """Hold a job to the size that it may have alone; spaces between its parts do not count."""
    try:
        size = len(json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode())
    except RecursionError:
        raise MalformedBodyError("the job is nested too deeply") from None
    if size > max_bytes:
        raise BodyTooLargeError(
            f"the job is larger than the {max_bytes} bytes that this server takes for one"
        )


def _tell(outcomes: Sequence[Outcome]) -> None:
    accepted = [each for each in outcomes if isinstance(each, Submission)]
    refused = Counter(each.code for each in outcomes if isinstance(each, MillraceError))
    _log.info(
        "jobs.submitted",
        accepted=len(accepted),
        replayed=sum(each.replayed for each in accepted),
        cached=sum(each.job.cached for each in accepted),
        refused=dict(refused),
    )
