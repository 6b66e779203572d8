"""Tells the log that requests are refused for now, without a line for each of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog

from contract.errors import MillraceError

EVERY_S = 10.0

_log = structlog.get_logger()


class Refusals:
    """Counts refusals by their code, and says so at the first and then once in ``EVERY_S``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._untold: Counter[str] = Counter()
        self._told_s: dict[str, float] = {}

    def note(self, error: MillraceError) -> None:
        """One more request was answered with ``error``."""
        with self._lock:
            self._untold[error.code] += 1
            now_s = self._clock()
            if now_s - self._told_s.get(error.code, -EVERY_S) < EVERY_S:
                return
            self._told_s[error.code] = now_s
            count = self._untold.pop(error.code)
        _log.warning("requests.refused", code=error.code, count=count, detail=error.detail)
