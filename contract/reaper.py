"""The reaper: a thread in every worker and web process that makes sure nothing is forgotten."""

import threading
import time

import structlog

from contract.errors import StoreUnavailableError
from contract.queues import HintPublisher
from contract.store import Reaped, ReapStore

TICK_S = 0.5

_log = structlog.get_logger(__name__)


class Reaper:
    """Calls REAP every half second; the script itself sees to it that one call does the work."""

    def __init__(self, store: ReapStore, hints: HintPublisher) -> None:
        self._store = store
        self._hints = hints
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, within a tick."""
        self._stopped.set()
        self._thread.join(timeout=2 * TICK_S)

    def _run(self) -> None:
        away_since_s: float | None = None
        while not self._stopped.wait(TICK_S):
            try:
                report = self._store.reap()
            except StoreUnavailableError as error:
                self._store.note_failure()
                if away_since_s is None:
                    _log.warning("redis.away", error=error.detail)
                    away_since_s = time.monotonic()
                continue
            if away_since_s is not None:
                _log.info("redis.back", away_s=round(time.monotonic() - away_since_s, 1))
            away_since_s = None
            for row in report:
                self._act(row)

    def _act(self, row: Reaped) -> None:
        match row.kind, row.parts:
            case "hints", (queue, count):
                self._hints.publish(queue, int(count))
            case "lost", (job, worker, cause, outcome):
                _log.warning("job.lost", job=job, worker=worker, cause=cause, outcome=outcome)
            case "worker", (worker, cause):
                _log.warning("worker.lost", worker=worker, cause=cause)
            case "dead", (job, cause):
                _log.error("job.dead", job=job, cause=cause)
            case kind, (job,):
                _log.info(f"job.{kind}", job=job)
