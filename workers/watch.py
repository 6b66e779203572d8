"""The one thread of a worker that waits for nobody: it looks at engines and leases by the clock."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from workers.engine import Engine
from workers.health import Unfit, unfit_engine
from workers.leases import LeaseKeeper

_TICK_S = 0.1
#: A look that comes later than this says that the process itself stood still (frozen, suspended).
_STANDSTILL_S = 1.0

_log = structlog.get_logger(__name__)


class Watch:
    """Ends runs that Redis has not confirmed for a lease, and a process whose engine is unfit.

    Both are due while other threads may be blocked in a call to Redis that is not answered. The
    time in which the whole process stood still counts for neither: Redis was not asked in it, and
    no engine could turn. What has become of the jobs meanwhile the next beat tells.

    Args:
        on_unfit: called once, with the reason; no further look follows.
    """

    def __init__(
        self,
        leases: LeaseKeeper,
        engines: Sequence[Engine],
        *,
        stall_s: float,
        on_unfit: Callable[[Unfit], None],
    ) -> None:
        self._leases = leases
        self._engines = list(engines)
        self._stall_s = stall_s
        self._on_unfit = on_unfit
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; engines may be closed now."""
        self._stopped.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        looked_s = awake_since_s = time.monotonic()
        while not self._stopped.wait(_TICK_S):
            now_s = time.monotonic()
            if now_s - looked_s > _STANDSTILL_S:
                awake_since_s = now_s
                _log.warning("worker.stood_still", seconds=round(now_s - looked_s, 1))
            looked_s = now_s
            unfit = unfit_engine(
                self._engines, stall_s=self._stall_s, now_s=now_s, awake_since_s=awake_since_s
            )
            if unfit is not None:
                self._on_unfit(unfit)
                return
            if now_s - awake_since_s >= _STANDSTILL_S:
                self._leases.give_up_unconfirmed(now_s)
