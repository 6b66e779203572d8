"""The lines of one batch that are under way: their jobs wait, run, or are yet to be recorded."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contract.batch import BatchState
from contract.errors import JobGoneError, MillraceError
from contract.job import Job, JobState, NewJob
from contract.store import SUBMITS_AT_ONCE, JobStore
from producer.feeder.outcomes import answered, not_run, refused
from producer.openai.endpoints import Endpoint
from producer.request_schemas import Body

#: After a refusal that may pass, jobs are offered again when so much time is over.
PAUSE_S = 1.0
_JOBS_AT_ONCE = 100

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """A line that became a job: ``new`` is what is recorded of it."""

    custom_id: str
    body: Body
    new: NewJob

    @property
    def key(self) -> str:
        """What the ids of the job and of the line's result have in common."""
        return self.new.id.removeprefix("job_")


class Window:
    """Records jobs and collects what came of them. Its owner sees to it that they are not many."""

    def __init__(self, store: JobStore, endpoint: Endpoint, clock_s: Callable[[], float]) -> None:
        self._store = store
        self._endpoint = endpoint
        self._clock_s = clock_s
        self._owed: deque[Fed] = deque()
        self._fed: dict[str, Fed] = {}
        self._told: set[str] = set()
        self._not_before_s = 0.0
        self._withdrawn: set[str] = set()

    def __len__(self) -> int:
        return len(self._owed) + len(self._fed)

    def add(self, fed: Fed) -> None:
        """Let a line through; ``submit`` records its job."""
        self._owed.append(fed)

    def adopt(self, fed: Sequence[Fed]) -> list[Fed]:
        """Take up those whose jobs an earlier attempt has recorded; the others are returned."""
        left = []
        found = self._store.get_many([each.new.id for each in fed])
        for each, job in zip(fed, found, strict=True):
            if isinstance(job, MillraceError):
                left.append(each)
            else:
                self._fed[each.new.id] = each
                self._told.add(each.new.id)
        return left

    def note_ended(self, job_ids: Collection[str] | None) -> None:
        """Jobs that may have ended, None: any; ``collect`` looks at them."""
        self._told |= self._fed.keys() if job_ids is None else self._fed.keys() & set(job_ids)

    def submit(self, left_s: float) -> Iterator[Result]:
        """Record what is owed, to expire after ``left_s``; the results of those that are refused.

        Raises:
            StoreUnavailableError: Redis did not answer; what was owed still is.
        """
        while self._owed and self._clock_s() >= self._not_before_s:
            chunk = [self._owed[place] for place in range(min(len(self._owed), SUBMITS_AT_ONCE))]
            outcomes = self._store.submit_many(
                [replace(each.new, deadline_s=left_s) for each in chunk]
            )
            for fed, outcome in zip(chunk, outcomes, strict=True):
                self._owed.popleft()
                if not isinstance(outcome, MillraceError):
                    self._fed[fed.new.id] = fed
                    if outcome.job.finished:
                        self._told.add(fed.new.id)
                elif outcome.retryable or isinstance(outcome, JobGoneError):
                    # One that has expired can be recorded anew when it was reaped.
                    self._owed.append(fed)
                    self._not_before_s = self._clock_s() + PAUSE_S
                else:
                    yield refused(fed.custom_id, fed.key, outcome)

    def collect(self) -> Iterator[tuple[str, Result]]:
        """The ids and results of jobs that have ended. A job that is gone is owed again.

        Raises:
            StoreUnavailableError: Redis did not answer; they are collected by the next call.
        """
        told = [each for each in self._told if each in self._fed]
        for first in range(0, len(told), _JOBS_AT_ONCE):
            ids = told[first : first + _JOBS_AT_ONCE]
            for job_id, job in zip(ids, self._store.get_many(ids), strict=True):
                self._told.discard(job_id)
                if isinstance(job, MillraceError):
                    self._owed.append(self._fed.pop(job_id))
                elif job.finished:
                    fed = self._fed.pop(job_id)
                    yield job_id, answered(fed.custom_id, job, self._endpoint, fed.body)

    def withdraw(self, end: BatchState) -> Iterator[Result]:
        """Let nothing begin any more; the results of what was not recorded yet.

        Jobs that wait are cancelled, once. Those that run may end.
        """
        while self._owed:
            fed = self._owed.popleft()
            yield not_run(fed.custom_id, fed.key, end)
        if end is not BatchState.CANCELLED:
            return  # at the end of its time the store lets every job expire
        for job in self._jobs(self._fed.keys() - self._withdrawn):
            if job.state is JobState.QUEUED:
                self._store.cancel(job.id)
        self._withdrawn |= self._fed.keys()

    def _jobs(self, wanted: Collection[str]) -> Iterator[Job]:
        ids = list(wanted)
        for first in range(0, len(ids), _JOBS_AT_ONCE):
            for job in self._store.get_many(ids[first : first + _JOBS_AT_ONCE]):
                if isinstance(job, Job):
                    yield job
