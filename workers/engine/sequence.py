"""One run in the batch: its tokens become text, and its text a result."""

from dataclasses import replace
from typing import Any

from contract.errors import EngineError
from workers.engine.requests import FinishReason, GenerationRequest, GenerationResult
from workers.engine.run import Run
from workers.engine.text_stream import TextStream

GenerationRun = Run[GenerationRequest, GenerationResult]


class Sequence:
    """A run, and its place in the native engine: ``native``, the request, and its ``turn``."""

    __slots__ = ("native", "run", "stream", "tokens", "turn")

    def __init__(self, run: GenerationRun, stream: TextStream) -> None:
        self.run = run
        self.stream = stream
        self.tokens: list[int] = []
        self.native: Any = None
        self.turn = 0

    @property
    def rest(self) -> GenerationRequest:
        """What is to be generated yet: the whole answer, or what a pause left of it."""
        asked = self.run.request
        return replace(
            asked,
            prompt_tokens=[*asked.prompt_tokens, *self.tokens],
            max_tokens=asked.max_tokens - len(self.tokens),
        )

    def push(self, token: int) -> bool:
        """Take the next token; whether a stop string ends the answer here."""
        if not self.stream.stopped:
            self.tokens.append(token)
            self._show(self.stream.push(token))
        return self.stream.stopped

    def finish(self) -> None:
        """No token follows: show what was held back."""
        self._show(self.stream.finish())

    def complete(self, reason: FinishReason, cached_tokens: int) -> None:
        """End the run; a stop string outranks any other reason to end."""
        self.run.complete(
            GenerationResult(
                text=self.stream.text,
                finish_reason="stop" if self.stream.stopped else reason,
                prompt_tokens=len(self.run.request.prompt_tokens),
                completion_tokens=len(self.tokens),
                cached_tokens=min(cached_tokens, len(self.run.request.prompt_tokens)),
            )
        )

    def _show(self, text: str) -> None:
        run = self.run
        if not text or run.on_text is None or run.cancelled:
            return
        try:
            run.on_text(text, len(self.tokens))
        except Exception as error:  # noqa: BLE001  (the caller's code: only its own run suffers)
            run.fail(EngineError(f"on_text raised {error!r}"))
            run.cancel()
