"""The leases of one worker: what it holds, renewed by one call, and what it has lost.

A lease is renewed by a BEAT that is answered. One that was not for as long as it lasts is given up,
for another worker may have the job by then. A Redis that refuses to answer hands jobs to nobody, so
a refusal renews too (docs/adr/0009-silence-ends-a-run.md).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from contract.errors import StoreUnavailableError
from contract.job import Claim
from contract.store import AttemptStore
from workers.engine import Run

_MAX_BEAT_S = 0.5
_MARGIN_S = 0.2  # to have given a lease up by its end, with the time between two looks

_log = structlog.get_logger(__name__)


class Lease:
    """This worker's hold on one attempt. Once it is lost or given up, its run is stopped."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.confirmed_s = time.monotonic()
        """When Redis was last asked for the job and did answer, on the monotonic clock."""
        self.lost = False
        self.given_up = False
        self._run: Run[Any, Any] | None = None
        self._lock = threading.Lock()

    @property
    def computed(self) -> bool:
        """Whether the run has ended: there is nothing left to stop, but perhaps to write."""
        with self._lock:
            return self._run is not None and self._run.done

    def attach(self, run: Run[Any, Any]) -> None:
        """Let ``run`` be stopped with the lease; at once when it is gone already."""
        with self._lock:
            self._run = run
            stop = self.lost or self.given_up
        if stop:
            run.cancel()

    def lose(self) -> None:
        """Another owner, a cancel or a deadline has taken the job."""
        self._end("lost")

    def give_up(self) -> None:
        """The worker must go before the job is done."""
        self._end("given_up")

    def _end(self, how: str) -> None:
        with self._lock:
            setattr(self, how, True)
            run = self._run
        if run is not None:
            run.cancel()


class LeaseKeeper:
    """Renews every lease, and learns of lost ones.

    Two threads: one beats; one listens on the presence connection, which also proves to the
    reaper that this process lives and brings cancels without the wait for a beat.

    Args:
        register: enters the registry (again), when Redis does not know this worker.
    """

    def __init__(
        self,
        store: AttemptStore,
        *,
        queues: Sequence[str],
        lease_s: float,
        register: Callable[[], None],
    ) -> None:
        self.state = "ready"
        self._store = store
        self._queues = list(queues)
        self._beat_s = min(lease_s / 4, _MAX_BEAT_S)
        self._hold_s = lease_s - _MARGIN_S
        self._register = register
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="presence", daemon=True),
            threading.Thread(target=self._beat_forever, name="heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """Begin to listen and to beat."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; no lease is renewed any more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=3)

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[Lease]:
        """Keep the lease of a claimed job for the length of the block."""
        lease = Lease(claim)
        with self._lock:
            stale = self._leases.get(claim.job_id)
            self._leases[claim.job_id] = lease
        if stale is not None:
            stale.lose()
        try:
            yield lease
        finally:
            with self._lock:
                if self._leases.get(claim.job_id) is lease:
                    del self._leases[claim.job_id]

    @property
    def held(self) -> list[Lease]:
        """Every lease that is held now."""
        with self._lock:
            return list(self._leases.values())

    def lose(self, job_id: str, attempt: int | None = None) -> None:
        """Mark an attempt (None: whichever is held) as not ours any more and stop its run."""
        with self._lock:
            lease = self._leases.get(job_id)
        if lease is not None and attempt in (None, lease.claim.attempt):
            lease.lose()

    def give_up_unconfirmed(self, now_s: float) -> None:
        """Stop the runs that Redis has not confirmed for a lease, by the monotonic clock.

        They go back uncharged, or turn out to be lost, when Redis can be asked again.
        """
        for lease in self.held:
            silent_s = now_s - lease.confirmed_s
            ended = lease.given_up or lease.lost or lease.computed
            if silent_s >= self._hold_s and not ended:
                lease.give_up()
                _log.warning(
                    "job.given_up",
                    job=lease.claim.job_id,
                    attempt=lease.claim.attempt,
                    silent_s=round(silent_s, 1),
                )

    def _beat_forever(self) -> None:
        away_since_s: float | None = None
        while True:
            try:
                self._beat()
                if away_since_s is not None:
                    _log.info("heartbeat.back", away_s=round(time.monotonic() - away_since_s, 1))
                    away_since_s = None
            except StoreUnavailableError as error:
                if away_since_s is None:
                    away_since_s = time.monotonic()
                    _log.warning("heartbeat.failed", error=error.detail, silent=error.silent)
            if self._stopped.wait(self._beat_s):
                return

    def _beat(self) -> None:
        held, asked_s = self.held, time.monotonic()
        try:
            registered, lost = self._store.beat(
                state=self.state,
                queues=self._queues,
                held=[(lease.claim.job_id, lease.claim.attempt) for lease in held],
            )
        except StoreUnavailableError as error:
            if not error.silent:
                _confirm(held, asked_s)
            raise
        _confirm(held, asked_s)
        if not registered and not self._stopped.is_set():
            self._register()
        for lease in held:
            if lease.claim.job_id in lost:
                lease.lose()

    def _listen(self) -> None:
        presence = self._store.presence()
        try:
            while not self._stopped.is_set():
                job_id = presence.poll(1.0)
                if job_id:
                    self.lose(job_id)
        finally:
            presence.close()


def _confirm(leases: Sequence[Lease], asked_s: float) -> None:
    for lease in leases:
        lease.confirmed_s = max(lease.confirmed_s, asked_s)
