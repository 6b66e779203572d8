"""Bursts from a Python producer that speaks to the store itself, without HTTP."""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.queue_cost.stack import Stack
from contract.errors import MillraceError
from contract.fingerprint import fingerprint
from contract.job import NewJob
from contract.queues import HintPublisher

_PAUSE_S = 0.002
_AT_ONCE = 100
_PATIENCE_S = 120.0


class StoreClient:
    """Submits jobs, ``at_once`` by a call, and learns their results."""

    def __init__(self, stack: Stack, at_once: int) -> None:
        self._stack = stack
        self._at_once = at_once
        self._store = stack.store
        self._hints = HintPublisher(stack.settings)

    def new_job(self, text: str, parameters: Mapping[str, Any]) -> NewJob:
        """A job as the front would make it of the same request."""
        version = self._stack.version
        stored = {"messages": [{"role": "user", "content": text}]}
        asked = {
            "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "stop": [], **parameters
        }  # fmt: skip
        return NewJob(
            id=f"job_{secrets.token_hex(12)}",
            queue=self._stack.queue,
            model=version.name,
            model_version=version.version,
            digest=version.digest,
            task="generate",
            input=stored,
            parameters=asked,
            body_sha256=secrets.token_hex(32),
            hint=self._hints.message(self._stack.queue),
            fingerprint=fingerprint(version.digest, "generate", stored, asked),
        )

    def burst(self, texts: Sequence[str], parameters: Mapping[str, Any]) -> list[float]:
        """Submit a job for each text, then read every result; the seconds of each submit.

        Calls that submit many are not told: they are something else.
        """
        before, ids, taken_s = self._ended(), [], []
        for start in range(0, len(texts), self._at_once):
            started_s = time.perf_counter()
            news = [self.new_job(t, parameters) for t in texts[start : start + self._at_once]]
            self._submit(news)
            taken_s.append(time.perf_counter() - started_s)
            ids += [new.id for new in news]
        due_s = time.monotonic() + _PATIENCE_S
        while self._ended() < before + len(texts):
            if time.monotonic() > due_s:
                raise RuntimeError("the jobs did not end in time")
            time.sleep(_PAUSE_S)
        for start in range(0, len(ids), _AT_ONCE):
            self._read(ids[start : start + _AT_ONCE])
        return taken_s if self._at_once == 1 else []

    def one(self, text: str, parameters: Mapping[str, Any]) -> None:
        """One job, to its result."""
        self.burst([text], parameters)

    def _submit(self, news: Sequence[NewJob]) -> None:
        if len(news) == 1:
            self._store.submit(news[0])
            return
        for outcome in self._store.submit_many(news):
            if isinstance(outcome, MillraceError):
                raise outcome

    def _ended(self) -> int:
        return self._store.counters().get("jobs_completed", 0)

    def _read(self, ids: Sequence[str]) -> None:
        for job in self._store.get_many(ids):
            if isinstance(job, MillraceError):
                raise job
            if not job.output:
                raise RuntimeError(f"no output: {job}")
