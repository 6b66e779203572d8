"""gunicorn's own words, through the log that everything else uses."""

import logging
from typing import Any

import structlog
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

_log = structlog.get_logger()


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log.log(record.levelno, "front.server", says=record.getMessage(), exc_info=record.exc_info)


class GunicornLogs(Logger):  # type: ignore[misc]
    """Each message of gunicorn as one event; requests are not logged."""

    def setup(self, cfg: Any) -> None:
        """Send the error log on, and drop the access log."""
        super().setup(cfg)
        self.error_log.handlers = [_Forward()]
        self.access_log.handlers = []
