"""A front for fault tests: gunicorn's configuration and its application in one module.

It is the front of ``producer.wsgi`` with another publisher of hints. Nothing of this is in a wheel
or an image, so no production process can be told to misbehave.

    LAB_DIE        recorded: kill -9 the process between the record of a job and its hint;
                   reaper: let the reaper's thread die of the first hint that it is to send
    LAB_DEATHS     file that gets a line before each such death: ms since the epoch
"""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producer.gunicorn_config import *  # noqa: F403 - every setting of the real front
from producer.gunicorn_config import serve

if TYPE_CHECKING:
    from producer.wsgi import Process

_CONFIG = ("--config", "python:tests.support.lab_front")
COMMAND = (sys.executable, "-m", "gunicorn", *_CONFIG, "tests.support.lab_front:app")


@functools.cache
def process() -> "Process":
    """What this process runs; imported here, after gevent has patched it."""
    import flask

    from contract.queues import HintPublisher
    from producer.wsgi import open_process

    class MortalHints(HintPublisher):
        """Dies of the first hint that a request wants; the reaper's are sent."""

        def publish(self, queue: str, count: int = 1) -> None:
            deaths = Path(os.environ["LAB_DEATHS"])
            if os.environ.get("LAB_DIE") == "recorded" and flask.has_request_context():
                with deaths.open("a", encoding="utf-8") as file:
                    file.write(f"{time.time() * 1000:.0f}\n")
                os.kill(os.getpid(), signal.SIGKILL)
            if os.environ.get("LAB_DIE") == "reaper" and not deaths.exists():
                deaths.touch()
                raise RuntimeError("the lab's reaper dies")
            super().publish(queue, count)

    return open_process(MortalHints)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI callable."""
    return process().flask(environ, start_response)


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """As in the real front, of the lab's process."""
    serve(worker, process())


def worker_exit(server: Any, worker: Any) -> None:  # type: ignore[no-redef]
    """As in the real front, of the lab's process."""
    if process.cache_info().currsize:
        process().close()
