"""A job's life on a worker: claim, run, finish."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
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
from contract.store import AttemptStore, ClaimBlocked
from workers.engine import Engine
from workers.leases import Lease, LeaseKeeper
from workers.outputs import Answer, answer, seed_of
from workers.publisher import TokenPublisher

T = TypeVar("T")

_PATIENCE_S = 0.3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model that this worker serves, and the queue of its jobs."""

    queue: str
    engine: Engine
    slots: int


class Executor:
    """Runs what hints announce, as far as there are slots.

    A hint that finds no room, or only jobs that must not join the present batch, is owed: it goes
    back to the queue when a job ends. Hints are anonymous, so any of them will do.
    """

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
        self._hints = hints
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._owed: Counter[str] = Counter()
        self._draining = threading.Event()
        self._over = threading.Event()  # the grace time of a drain

    def run_next(self, queue: str) -> None:
        """Serve one hint of ``queue``: run the best job there is, to its end."""
        claim = self._claim(queue)
        if claim is None:
            return
        try:
            with self._leases.hold(claim) as lease:
                if self._over.is_set():
                    lease.give_up()  # it was not held yet when the others were
                self._run(claim, lease)
        finally:
            self._free(claim.queue)

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

    def _claim(self, queue: str) -> Claim | None:
        nonce, again = uuid.uuid4().hex, False
        while True:
            try:
                return self._claim_once(queue, nonce, again)
            except StoreUnavailableError as error:
                # The claim may have been made all the same, and only its nonce can tell: the job
                # would wait for the end of a lease that nobody renews.
                if not again:
                    _log.warning("claim.delayed", queue=queue, error=error.detail)
                again = True
            if self._draining.wait(_PATIENCE_S):
                return None

    def _claim_once(self, queue: str, nonce: str, again: bool) -> Claim | None:
        with self._lock:  # a slot must not be promised twice
            if self._draining.is_set() or self._failed():
                return None
            room = [q for q, s in self._served.items() if self._running[q] < s.slots]
            if queue not in room and not again:
                self._owe(queue)
                return None
            try:
                claim = self._store.claim(room, nonce)
            except ClaimBlocked:
                self._owe(queue)
                return None
            if claim is not None:
                self._running[claim.queue] += 1
                _log.info("job.claimed", job=claim.job_id, attempt=claim.attempt)
            return claim

    def _failed(self) -> bool:
        """Whether this process is about to go, and would take with it whatever it claims."""
        return any(served.engine.failure is not None for served in self._served.values())

    def _owe(self, queue: str) -> None:
        self._owed[queue] = min(self._owed[queue] + 1, self._served[queue].slots)

    def _free(self, queue: str) -> None:
        with self._lock:
            self._running[queue] -= 1
            due = {
                q: max(min(owed, self._served[q].slots - self._running[q]), 0)
                for q, owed in self._owed.items()
            }
            self._owed.subtract(due)
        for name, count in due.items():
            if count > 0:
                self._hints.publish(name, count)

    def _run(self, claim: Claim, lease: Lease) -> None:
        try:
            done = self._generate(claim, lease)
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
            _log.exception("job.crashed", job=claim.job_id, attempt=claim.attempt)
            self._fail(claim, EngineError(f"the worker failed: {type(error).__name__}"))
        else:
            stored = self._persist(
                claim, lambda: self._store.finish(claim, done.output, done.usage)
            )
            event = "job.completed" if stored else "job.fenced"
            _log.info(event, job=claim.job_id, attempt=claim.attempt, **done.usage)

    def _generate(self, claim: Claim, lease: Lease) -> Answer:
        engine = self._served[claim.queue].engine
        request = engine.prompt(claim.input, claim.parameters, seed=seed_of(claim))
        stream = self._publisher.open(claim)
        try:
            run = engine.submit(request, on_text=stream.write)
            lease.attach(run)
            result = run.result()
            self._publisher.flush()
        finally:
            self._publisher.close(stream)
        return answer(claim, result)

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
