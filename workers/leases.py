"""The leases of one worker: what it holds, renewed by one call, and what it has lost."""

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

_log = structlog.get_logger(__name__)


class Lease:
    """This worker's hold on one attempt. Once it is lost or given up, its run is stopped."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = False
        self.given_up = False
        self._run: Run[Any, Any] | None = None
        self._lock = threading.Lock()

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
    """Renews every lease while the engines tick, and learns of lost ones.

    Two threads: one beats; one listens on the presence connection, which also proves to the
    reaper that this process lives and brings cancels without the wait for a beat.

    Args:
        healthy: says whether the engines are fit; when not, ``on_failure`` is called once and no
            beat is sent any more, so that others get the jobs.
        register: enters the registry (again), when Redis does not know this worker.
    """

    def __init__(
        self,
        store: AttemptStore,
        *,
        queues: Sequence[str],
        lease_s: float,
        healthy: Callable[[], bool],
        on_failure: Callable[[], None],
        register: Callable[[], None],
    ) -> None:
        self.state = "ready"
        self._store = store
        self._queues = list(queues)
        self._beat_s = min(lease_s / 4, _MAX_BEAT_S)
        self._healthy = healthy
        self._on_failure = on_failure
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

    def _beat_forever(self) -> None:
        away_since_s: float | None = None
        while self._healthy():
            try:
                self._beat()
                if away_since_s is not None:
                    _log.info("heartbeat.back", away_s=round(time.monotonic() - away_since_s, 1))
                    away_since_s = None
            except StoreUnavailableError:
                if away_since_s is None:
                    away_since_s = time.monotonic()
                    _log.warning("heartbeat.failed")
            if self._stopped.wait(self._beat_s):
                return
        self._on_failure()

    def _beat(self) -> None:
        held = self.held
        registered, lost = self._store.beat(
            state=self.state,
            queues=self._queues,
            held=[(lease.claim.job_id, lease.claim.attempt) for lease in held],
        )
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
