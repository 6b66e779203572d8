"""A job's life on a worker: claim, run, finish."""

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from contract.errors import (
    EngineError,
    EngineFailedError,
    MillraceError,
    RunCancelledError,
    StoreUnavailableError,
)
from contract.job import Claim
from contract.queues import HintPublisher
from contract.store import AttemptStore, ClaimBlocked, Finished, TokenEvent
from workers.engine import Engine
from workers.leases import Lease, LeaseKeeper
from workers.outputs import Answer, answer, seed_of
from workers.publisher import TokenPublisher
from workers.slots import Slot, Slots

T = TypeVar("T")

_PATIENCE_S = 0.3

#: The queues that a claim asked for, and what came of it.
Ended = tuple[Sequence[str], Finished]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model that this worker serves, and the queue of its jobs."""

    queue: str
    engine: Engine
    slots: int


class Executor:
    """Runs jobs as long as there are some, in as many slots as hints have woken."""

    def __init__(
        self,
        served: Mapping[str, Served],
        store: AttemptStore,
        leases: LeaseKeeper,
        publisher: TokenPublisher,
        hints: HintPublisher,
    ) -> None:
        self._served = served
        self._store = store
        self._leases = leases
        self._publisher = publisher
        self._slots = Slots({q: each.slots for q, each in served.items()}, hints.publish)
        self._draining = threading.Event()
        self._over = threading.Event()  # the grace time of a drain

    def run_next(self, queue: str) -> None:
        """Serve one hint of ``queue``: run the best job, and then the next, until none waits."""
        slot = self._slots.enter(queue)
        if slot is None:
            return
        try:
            claim = self._claim(slot)
            while claim is not None:
                claim = self._serve(claim, slot)
        finally:
            self._slots.leave(slot)

    def drain(self, grace_s: float) -> None:
        """Claim nothing more; let jobs finish for ``grace_s``, then give the rest back."""
        self._draining.set()
        timer = threading.Timer(grace_s, self._give_up)
        timer.daemon = True  # jobs that end sooner must not keep the process waiting
        timer.start()

    def _give_up(self) -> None:
        self._over.set()
        self._publisher.give_up()
        for lease in self._leases.held:
            lease.give_up()

    def _serve(self, claim: Claim, slot: Slot) -> Claim | None:
        """Run a job to its end; returns the next one for its slot."""
        with self._leases.hold(claim) as lease:
            if self._over.is_set():
                lease.give_up()  # it was not held yet when the others were
            ended = self._run(claim, lease, slot)
        return self._claim(slot) if ended is None else self._follow(slot, *ended)

    def _claim(self, slot: Slot) -> Claim | None:
        nonce, delayed = uuid.uuid4().hex, False
        while not self._must_stop():
            queues = self._slots.open_to(slot)
            try:
                claim = self._store.claim(queues, nonce)
            except ClaimBlocked:
                return self._follow(slot, queues, Finished(stored=True, blocked=True))
            except StoreUnavailableError as error:
                # The claim may have been made all the same, and only its nonce can tell: the job
                # would wait for the end of a lease that nobody renews.
                if not delayed:
                    _log.warning("claim.delayed", queue=slot.queue, error=error.detail)
                delayed = True
                if self._draining.wait(_PATIENCE_S):
                    return None
            else:
                return self._follow(slot, queues, Finished(stored=True, following=claim))
        return None

    def _must_stop(self) -> bool:
        """Whether nothing may be claimed any more.

        A process whose engine failed is about to go, and would take with it what it claims.
        """
        failed = any(served.engine.failure is not None for served in self._served.values())
        return failed or self._draining.is_set()

    def _follow(self, slot: Slot, queues: Sequence[str], done: Finished) -> Claim | None:
        """The job that was claimed for ``slot`` out of ``queues``, if any."""
        claim = done.following
        if claim is not None:
            _log.info("job.claimed", job=claim.job_id, attempt=claim.attempt)
            self._slots.took(slot, claim.queue)
        elif done.blocked:
            self._slots.owe(slot)
        else:
            self._slots.found_none(queues)
        return claim

    def _run(self, claim: Claim, lease: Lease, slot: Slot) -> Ended | None:
        """Run a job. Of one that ends well, what was claimed together with its end."""
        try:
            done, last = self._generate(claim, lease)
        except RunCancelledError:
            if lease.given_up and not lease.lost:
                released = self._persist(claim, lambda: self._store.release(claim))
            else:
                released = False
            event = "job.released" if released else "job.fenced"
            _log.info(event, job=claim.job_id, attempt=claim.attempt)
        except EngineFailedError:
            # The process goes down with its engine. That is a loss of the worker, not a failure
            # of each job in the batch: they come back as suspects.
            _log.error("job.abandoned", job=claim.job_id, attempt=claim.attempt)
        except MillraceError as error:
            self._fail(claim, error)
        except Exception as error:  # noqa: BLE001 (the one outer edge of a job)
            _log.error("job.crashed", job=claim.job_id, attempt=claim.attempt, exc_info=error)
            self._fail(claim, EngineError(f"the job crashed with {type(error).__name__}"))
        else:
            return self._finish(claim, slot, done, last)
        return None

    def _generate(self, claim: Claim, lease: Lease) -> tuple[Answer, TokenEvent | None]:
        engine = self._served[claim.queue].engine
        request = engine.prompt(claim.input, claim.parameters, seed=seed_of(claim))
        stream = self._publisher.open(claim)
        try:
            run = engine.submit(request, on_text=stream.write, priority=claim.priority)
            stream.follow(run)
            lease.attach(run)
            result = run.result()
            last = self._publisher.rest(stream)
        finally:
            self._publisher.close(stream)
        return answer(claim, result), last

    def _finish(
        self, claim: Claim, slot: Slot, done: Answer, last: TokenEvent | None
    ) -> Ended | None:
        nonce = uuid.uuid4().hex

        def finish() -> Ended:
            queues = [] if self._must_stop() else self._slots.open_to(slot)
            return queues, self._store.finish_and_claim(
                claim, done.output, done.usage, last=last, queues=queues, nonce=nonce
            )

        ended = self._persist(claim, finish)
        event = "job.completed" if ended is not None and ended[1].stored else "job.fenced"
        _log.info(event, job=claim.job_id, attempt=claim.attempt, **done.usage)
        return ended

    def _fail(self, claim: Claim, error: MillraceError) -> None:
        outcome = self._persist(claim, lambda: self._store.fail(claim, error))
        _log.warning(
            "job.failed", job=claim.job_id, attempt=claim.attempt, code=error.code, outcome=outcome
        )
        if outcome == "dead":
            _log.error("job.dead", job=claim.job_id, cause=error.code)

    def _persist(self, claim: Claim, write: Callable[[], T]) -> T | None:
        """Write, and go on trying while Redis is away: what was computed is not thrown away.

        None when the worker must go first; the lease runs out and another one runs the job.
        """
        delayed = False
        while True:
            try:
                return write()
            except StoreUnavailableError as error:
                if not delayed:  # said once for each job: an outage may last for hours
                    _log.warning(
                        "write.delayed", job=claim.job_id, attempt=claim.attempt, error=error.detail
                    )
                delayed = True
                if self._over.is_set():
                    return None
            self._over.wait(_PATIENCE_S)
