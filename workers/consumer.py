"""Celery's consumer of hints, which must be back soon, however long Redis was away."""

import logging
import time
import warnings
from typing import Any

import structlog
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

_RETRY_S = 0.5

_SAY_AGAIN_S = 60.0

_log = structlog.get_logger(__name__)


class Terse(logging.Filter):
    """Lets words that are repeated through once a minute: Redis may refuse hints for hours."""

    def __init__(self) -> None:
        super().__init__()
        self._last, self._said_s = "", 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` says something new."""
        words, now_s = record.getMessage(), time.monotonic()
        if words == self._last and now_s - self._said_s < _SAY_AGAIN_S:
            return False
        self._last, self._said_s = words, now_s
        return True


class HintConsumer(Consumer):
    """Asks for the broker at short and equal intervals; Celery's own grow to half a minute.

    A Redis that is there but refuses to give hints, as with a full disk, is asked as often.
    """

    channel_errors: tuple[type[Exception], ...]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Now that Celery has set up its log. The warning is eight lines at each lost connection, on
        # a choice that does not arise here: hints are not acknowledged.
        warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
        logging.getLogger(Consumer.__module__).addFilter(Terse())
        super().__init__(*arguments, **options)

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
