"""An engine that takes the time of a model and none of its computation."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from contract.errors import RunCancelledError
from workers.engine import GenerationRequest, GenerationResult, Run
from workers.engine.engine_thread import EngineThread

SimulatedRun = Run[GenerationRequest, GenerationResult]


class SimulatedEngine(EngineThread[GenerationRequest, GenerationResult]):
    """Gives each run of its batch one word every ``token_s``; a prompt has its words as tokens."""

    def __init__(self, *, slots: int, token_s: float) -> None:
        super().__init__("simulated", lambda: _Batch(slots, token_s), slots=slots)

    def prompt(
        self,
        stored_input: Mapping[str, Any],
        parameters: Mapping[str, Any],
        *,
        seed: int | None = None,
    ) -> GenerationRequest:
        """As many tokens as ``max_tokens`` asks for, 16 by default."""
        words = str(stored_input).split()
        return GenerationRequest(
            prompt_tokens=range(len(words)),
            max_tokens=parameters.get("max_tokens") or 16,
            seed=seed,
        )


class _Batch:
    def __init__(self, slots: int, token_s: float) -> None:
        self._slots = slots
        self._token_s = token_s
        self._waiting: deque[SimulatedRun] = deque()
        self._texts: dict[SimulatedRun, list[str]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._texts or self._waiting)

    @property
    def running(self) -> int:
        return len(self._texts)

    def add(self, run: SimulatedRun) -> None:
        self._waiting.append(run)

    def step(self) -> None:
        while self._waiting and len(self._texts) < self._slots:
            self._texts[self._waiting.popleft()] = []
        time.sleep(self._token_s)
        for run, texts in list(self._texts.items()):
            if run.cancelled:
                run.fail(RunCancelledError("the run was cancelled"))
            else:
                texts.append(f"{(run.request.seed or 0) % 997}.{len(texts)} ")
                if run.on_text is not None:
                    run.on_text(texts[-1], len(texts))
                if len(texts) == run.request.max_tokens:
                    run.complete(_result(run.request, texts))
            if run.done:
                del self._texts[run]

    def close(self) -> None:
        pass


def _result(request: GenerationRequest, texts: list[str]) -> GenerationResult:
    return GenerationResult(
        text="".join(texts),
        finish_reason="length",
        prompt_tokens=len(request.prompt_tokens),
        completion_tokens=len(texts),
    )
