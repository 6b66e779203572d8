"""Is this process fit to hold jobs? And the end of one that is not."""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from contract.errors import MillraceError
from workers.engine import Engine

EXIT_UNFIT = 70  # EX_SOFTWARE: the supervisor starts a new process
_LAST_WORDS_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why an engine is beyond use: a word for its jobs, and a sentence for the log."""

    cause: str
    reason: str


def unfit_engine(
    engines: Iterable[Engine], *, stall_s: float, now_s: float, awake_since_s: float
) -> Unfit | None:
    """The first engine that failed, or whose loop has not turned for ``stall_s``.

    Times are those of the engines' clock. One that stood still with the whole process, until
    ``awake_since_s``, did not hang.
    """
    for engine in engines:
        if engine.failure is not None:
            return Unfit(cause="engine_failed", reason=engine.failure.detail)
        silent_s = now_s - max(engine.last_tick_s, awake_since_s)
        if silent_s > stall_s:
            reason = f"the engine has not ticked for {silent_s:.0f} s"
            return Unfit(cause="engine_stalled", reason=reason)
    return None


def abandon_process(reason: str, last_words: Callable[[], object] | None = None) -> None:
    """End at once: a hung native call cannot be joined.

    The connection that shows this worker to be alive goes with it, so its jobs move on within
    about a second. ``last_words`` may tell Redis why before; it is waited for one second at most.
    """
    try:
        _log.error("worker.unfit", reason=reason)
        if last_words is not None:
            speaker = threading.Thread(target=_say, args=(last_words,), daemon=True)
            speaker.start()
            speaker.join(_LAST_WORDS_S)
    finally:  # also when there is no memory left for any of it
        os._exit(EXIT_UNFIT)


def _say(last_words: Callable[[], object]) -> None:
    try:
        last_words()
    except MillraceError as error:
        _log.warning("worker.not_heard", error=error.detail)
