"""The reaper: a thread in every worker and web process that makes sure nothing is forgotten."""

import threading

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
        away = False
        while not self._stopped.wait(TICK_S):
            try:
                report = self._store.reap()
            except StoreUnavailableError:
                self._store.note_failure()
                if not away:
                    _log.warning("redis.away")
                away = True
                continue
            if away:
                _log.info("redis.back")
            away = False
            for row in report:
                self._act(row)

    def _act(self, row: Reaped) -> None:
        match row.kind, row.parts:
            case "hints", (queue, count):
                self._hints.publish(queue, int(count))
            case "lost", (job, worker, cause, outcome):
                _log.warning("job.lost", job=job, worker=worker, cause=cause, outcome=outcome)
            case "worker", (worker,):
                _log.warning("worker.lost", worker=worker)
            case kind, (job,):
                _log.info(f"job.{kind}", job=job)
