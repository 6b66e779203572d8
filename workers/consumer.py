"""Celery's consumer of hints, which must be back soon, however long Redis was away."""

import time
import warnings
from typing import Any

import structlog
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

_RETRY_S = 0.5

# Eight lines at each lost connection, on a choice that does not arise: hints are not acknowledged.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning, message=r"\s*In Celery 5.1")

_log = structlog.get_logger(__name__)


class HintConsumer(Consumer):
    """Asks for the broker at short and equal intervals; Celery's own grow to half a minute.

    A Redis that is there but refuses to give hints, as with a full disk, is asked as often.
    """

    channel_errors: tuple[type[Exception], ...]

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Drop the connection, and pause unless the next one may be better at once."""
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, self.channel_errors):
            time.sleep(_RETRY_S)

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
