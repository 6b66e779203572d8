"""No thread dies in silence: a process that lacks one of its own goes as a whole."""

import threading
import traceback
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


def when_a_thread_dies(act: Callable[[str], None]) -> None:
    """From now on call ``act`` with the reason when any thread dies of an error.

    A worker without a heartbeat, for one, would go on to claim jobs that it cannot hold, and a
    front without a reaper would leave its share of that work to nobody.
    """

    def died(death: threading.ExceptHookArgs) -> None:
        if death.exc_type is SystemExit:
            return
        name = death.thread.name if death.thread else "unknown"
        traceback.clear_frames(death.exc_traceback)
        try:
            error = (death.exc_type, death.exc_value, death.exc_traceback)
            _log.error("thread.died", thread=name, exc_info=error)
        finally:
            act(f"the thread {name} died of {death.exc_type.__name__}")

    threading.excepthook = died
