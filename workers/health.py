"""Is this process fit to hold jobs? And the end of one that is not."""

import os
import time
from collections.abc import Callable, Iterable

import structlog

from workers.engine import Engine

#: A step takes at most a fraction of a second on any device that is worth using.
STALL_S = 20.0
EXIT_UNFIT = 70  # EX_SOFTWARE: the supervisor starts a new process

_log = structlog.get_logger(__name__)


def unfit_engine(
    engines: Iterable[Engine],
    *,
    stall_s: float = STALL_S,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Why an engine is beyond use: it failed, or its loop has not turned for ``stall_s``."""
    for engine in engines:
        if engine.failure is not None:
            return engine.failure.detail
        silent_s = clock() - engine.last_tick_s
        if silent_s > stall_s:
            return f"the engine has not ticked for {silent_s:.0f} s"
    return None


def abandon_process(reason: str) -> None:
    """End at once, without a word to anybody: a hung native call cannot be joined.

    The connection that shows this worker to be alive goes with it, so its jobs move on within
    about a second.
    """
    _log.error("worker.unfit", reason=reason)
    os._exit(EXIT_UNFIT)
