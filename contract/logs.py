"""One way to log for every process: events at state changes, for people or for machines."""

import logging
import sys

import structlog


def configure_logs(level: str, form: str) -> None:
    """Send structlog's events to standard error.

    Args:
        level: the least one that is logged: debug, info, warning or error.
        form: ``console`` for people, ``json`` for machines.
    """
    renderer: structlog.typing.Processor
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
