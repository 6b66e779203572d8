"""A front for fault tests: gunicorn's configuration and its application in one module.

It is the front of ``producer.wsgi`` with another store and another publisher of hints. Nothing of
this is in a wheel or an image, so no production process can be told to misbehave.

    LAB_DIE        recorded: record jobs without their hints, and kill -9 the process at once;
                   reaper: let the reaper's thread die of the first hint that it is to send
    LAB_DEATHS     file that gets a line before each such death: ms since the epoch
"""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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
    from contract.errors import MillraceError
    from contract.job import NewJob, Submission
    from contract.queues import HintPublisher
    from contract.store import JobStore
    from producer.wsgi import open_process

    deaths = Path(os.environ["LAB_DEATHS"])

    class MortalStore(JobStore):
        """Dies of the first job that it records."""

        def submit(self, new: NewJob) -> Submission:
            made = super().submit(_unheard(new))
            self._die_of([made])
            return made

        def submit_many(self, news: Sequence[NewJob]) -> list[Submission | MillraceError]:
            made = super().submit_many([_unheard(new) for new in news])
            self._die_of(made)
            return made

        def _die_of(self, made: Sequence[Submission | MillraceError]) -> None:
            if any(isinstance(each, Submission) and not each.replayed for each in made):
                with deaths.open("a", encoding="utf-8") as file:
                    file.write(f"{time.time() * 1000:.0f}\n")
                os.kill(os.getpid(), signal.SIGKILL)

    def _unheard(new: NewJob) -> NewJob:
        return replace(new, hint="")

    class MortalHints(HintPublisher):
        """Dies of the first hint that is to be published."""

        def publish(self, queue: str, count: int = 1) -> None:
            if not deaths.exists():
                deaths.touch()
                raise RuntimeError("the lab's reaper dies")
            super().publish(queue, count)

    match os.environ.get("LAB_DIE"):
        case "recorded":
            return open_process(connect=MortalStore.connect)
        case "reaper":
            return open_process(make_hints=MortalHints)
    return open_process()


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
