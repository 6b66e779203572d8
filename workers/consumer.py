"""Celery's consumer of hints, which must be back soon, however long Redis was away."""

from typing import Any

import structlog
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

_RETRY_S = 0.5

_log = structlog.get_logger(__name__)


class HintConsumer(Consumer):
    """Asks for the broker at short and equal intervals; Celery's own grow to half a minute."""

    def ensure_connected(self, conn: Any) -> Any:
        """``conn``, once it has a server; ends when the worker is told to stop meanwhile."""
        attempts = 0

        def note_failure(error: Exception, _: float) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                _log.warning("broker.away", error=type(error).__name__)

        conn.ensure_connection(
            note_failure,
            interval_start=_RETRY_S,
            interval_step=0,
            interval_max=_RETRY_S,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        if attempts:
            _log.info("broker.back", attempts=attempts)
        return conn
