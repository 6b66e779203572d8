"""A worker whose engine costs nothing: ``python -m benchmarks.queue_cost.worker``.

    QUEUE_COST_TOKEN_S   a simulated engine that takes so long for a token, in place of a handler

Without it a job is a call, as in other queues: it sleeps one ms for each of its ``max_tokens`` but
the first, and answers with one word.
"""

import os
import sys
import time
from typing import Any

from contract.settings import Settings
from model_store.manifest import ModelVersion
from tests.support.simulated_engine import SimulatedEngine, SimulatedRun
from workers.app import Worker, main
from workers.engine import Engine, GenerationResult, Run

NO_OP, SLEEP_50_MS = {"max_tokens": 1}, {"max_tokens": 51}


class Handler(SimulatedEngine):
    """Does a request on the thread that asks for it."""

    def __init__(self, *, slots: int) -> None:
        super().__init__(slots=slots, token_s=0)

    def submit(self, request: Any, on_text: Any = None, **_: Any) -> SimulatedRun:
        """Do it."""
        run: SimulatedRun = Run(request, on_text)
        if request.max_tokens > 1:
            time.sleep((request.max_tokens - 1) / 1000)
        if on_text is not None:
            on_text("done", 1)
        result = GenerationResult(
            text="done",
            finish_reason="stop",
            prompt_tokens=len(request.prompt_tokens),
            completion_tokens=1,
        )
        run.complete(result)
        return run


def open_free_engine(_: ModelVersion, *, slots: int, **_more: Any) -> Engine:
    """The engine that the environment asks for, whatever the version."""
    token_s = os.environ.get("QUEUE_COST_TOKEN_S")
    if token_s is not None:
        return SimulatedEngine(slots=slots, token_s=float(token_s))
    return Handler(slots=slots)


def make_worker(settings: Settings, environment: "os._Environ[str]") -> Worker:
    """The product's worker with that engine."""
    return Worker(settings, environment, open_engine=open_free_engine)


if __name__ == "__main__":
    sys.exit(main(make_worker))
