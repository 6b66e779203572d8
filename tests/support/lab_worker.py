"""A worker for fault tests: ``python -m tests.support.lab_worker``.

It is the worker of ``workers.app`` with other parts put in, as the environment says. Nothing of
this is in a wheel or an image, so no production process can be told to misbehave.

    LAB_TOKEN_S    a simulated engine that takes so long for a token, in place of the real one
    LAB_DIE        claimed | finished: kill -9 itself after that call, before the next step
    LAB_DIE_CHANCE probability of that at each call, 1 by default
    LAB_DEATHS     file that gets a JSON line {at_ms, jobs} before each such death: all that it held
    LAB_POISON     1: prompts with the words poison-kill, poison-hang or poison-memory do so, on the
                   engine's thread, after their first piece of text; poison-error makes the step
                   fail, of the real engine in its own code; poison-heart is the end of the
                   heartbeat's thread
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from contract import keys
from contract.job import Claim
from contract.settings import Settings
from contract.store import AttemptStore, Finished
from model_store.manifest import ModelVersion
from tests.support.simulated_engine import SimulatedEngine
from workers.app import Worker, main, open_fit_engine
from workers.engine import Engine, Run
from workers.engine.requests import OnText

_heart_broken = threading.Event()


class MortalStore(AttemptStore):
    """Kills its process between two steps of a job's life."""

    def claim(self, queues: Any, nonce: str) -> Claim | None:
        claim = super().claim(queues, nonce)
        if claim is not None:
            self._die_at("claimed")
        return claim

    def beat(self, **held: Any) -> Any:
        if _heart_broken.is_set():
            raise RuntimeError("a poison broke the heart")
        return super().beat(**held)

    def finish_and_claim(self, *arguments: Any, **more: Any) -> Finished:
        ended = super().finish_and_claim(*arguments, **more)
        self._die_at("finished")
        if ended.following is not None:
            self._die_at("claimed")
        return ended

    def _die_at(self, point: str) -> None:
        if os.environ.get("LAB_DIE") != point:
            return
        if random.random() < float(os.environ.get("LAB_DIE_CHANCE", "1")):
            held: Any = self._connection.redis.smembers(keys.RUNNING(self.worker_id))
            line = json.dumps({"at_ms": time.time() * 1000, "jobs": sorted(held)}) + "\n"
            with open(os.environ["LAB_DEATHS"], "a", encoding="utf-8") as deaths:
                deaths.write(line)
            os.kill(os.getpid(), signal.SIGKILL)


def open_lab_engine(version: ModelVersion, *, slots: int, threads: int, device: str) -> Engine:
    """The engine that the environment asks for."""
    engine: Engine
    if "LAB_TOKEN_S" in os.environ:
        engine = SimulatedEngine(slots=slots, token_s=float(os.environ["LAB_TOKEN_S"]))
    else:
        engine = open_fit_engine(version, slots=slots, threads=threads, device=device)
    if os.environ.get("LAB_POISON") == "1":
        return cast("Engine", PoisonableEngine(engine))
    return engine


class PoisonableEngine:
    """An engine whose batch some prompts do harm to, from within a step."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def prompt(self, stored: Mapping[str, Any], parameters: Any, **more: Any) -> Any:
        """The engine's own request, and what harm it does."""
        word = next((word for word in POISONS if word in str(stored)), None)
        plain = self._engine.prompt(stored, parameters, **more)
        if word == "poison-error":
            plain = replace(plain, prompt_tokens=[_OUTSIDE_OF_EVERY_VOCABULARY])
        return plain, word

    def submit(self, request: Any, on_text: OnText | None = None, **more: Any) -> Run[Any, Any]:
        """Run it; a harmful one acts at its first piece of text."""
        plain, word = request
        act = on_text if word is None else lambda *_: POISONS[word]()
        return self._engine.submit(plain, act, **more)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    while True:
        time.sleep(3600)


def _exhaust_memory() -> None:
    hoard: list[bytes] = []
    size = 16 << 20
    while True:  # until the OOM killer comes, or nothing at all can be allocated
        try:
            hoard.append(b"x" * size)
        except MemoryError:
            size //= 2
            if size < 1024:
                raise


def _break() -> None:
    raise RuntimeError("a poison broke the step")


POISONS = {
    "poison-kill": _kill,
    "poison-hang": _hang,
    "poison-memory": _exhaust_memory,
    "poison-error": _break,
    "poison-heart": _heart_broken.set,
}
_OUTSIDE_OF_EVERY_VOCABULARY = 10**6


def make_worker(settings: Settings, environment: "os._Environ[str]") -> Worker:
    """The worker with the lab's parts."""
    return Worker(settings, environment, open_engine=open_lab_engine, make_store=MortalStore)


if __name__ == "__main__":
    sys.exit(main(make_worker))
