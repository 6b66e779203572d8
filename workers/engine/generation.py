"""Text generation on onnxruntime-genai's Engine: continuous batching over a paged KV cache."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from contract.errors import (
    EngineError,
    EngineFailedError,
    InvalidRequestError,
    PromptTooLongError,
)
from model_store.manifest import ModelVersion
from model_store.tokenizer import TextTokenizer
from workers.engine.admission import Admission
from workers.engine.cache_plan import CachePlan
from workers.engine.detokenizer import Detokenizer, open_detokenizer
from workers.engine.engine_thread import EngineThread
from workers.engine.generation_plan import GenerationPlan
from workers.engine.native import (
    ERRORS,
    FATAL,
    Engine,
    EngineErrorCode,
    EngineEvent,
    FinishReason,
    Request,
    begin,
)
from workers.engine.prefixes import PromptPrefixes
from workers.engine.prompts import generation_request
from workers.engine.requests import GenerationRequest, GenerationResult
from workers.engine.sequence import GenerationRun, Sequence
from workers.engine.text_stream import TextStream
from workers.engine.warm_up import open_warm

_BARREN_STEPS = 1000
_log = structlog.get_logger()


class GenerationEngine(EngineThread[GenerationRequest, GenerationResult]):
    """Generates text for up to ``slots`` requests at once; the others wait in line.

    It opens warm: its first steps are behind it, and have settled what ``plan`` left open.

    Raises (from the constructor):
        DeviceUnavailableError: the model would not run on the device that was asked for.
        InvalidModelError: the model cannot be loaded.
    """

    def __init__(self, version: ModelVersion, plan: GenerationPlan) -> None:
        self.version = version
        self.limit_tokens = plan.cache.limit_tokens
        """The most tokens that a prompt and its answer may have together."""
        self._tokenizer = TextTokenizer.load(version.path)
        started_s = time.monotonic()
        warm = plan

        def open_batch() -> _Batch:
            nonlocal warm
            engine, warm = open_warm(version, plan)
            return _Batch(engine, warm, open_detokenizer(version.path, self._tokenizer))

        super().__init__(f"engine-{version.name}", open_batch, slots=plan.slots)
        self.slots = warm.slots
        _log.info(
            "engine.loaded",
            model=version.ref,
            device=plan.device,
            slots=self.slots,
            threads=plan.threads,
            cache_blocks=plan.cache.num_blocks,
            limit_tokens=self.limit_tokens,
            seconds=round(time.monotonic() - started_s, 2),
        )

    def prompt(
        self,
        stored_input: Mapping[str, Any],
        parameters: Mapping[str, Any],
        *,
        seed: int | None = None,
    ) -> GenerationRequest:
        """Render and tokenize a stored input, on the caller's thread.

        Raises:
            EmptyPromptError: there is no text.
            PromptTooLongError: the prompt leaves no room for an answer.
        """
        return generation_request(
            self._tokenizer, self.limit_tokens, stored_input, parameters, seed=seed
        )


class _Batch:
    """The stepper: everything of onnxruntime-genai, which allows one thread only."""

    def __init__(
        self, engine: Engine, plan: GenerationPlan, new_detokenizer: Callable[[], Detokenizer]
    ) -> None:
        self._engine = engine
        self._events = engine.create_event_buffer(4 * plan.slots)
        self._new_detokenizer = new_detokenizer
        self._cache: CachePlan = plan.cache
        self._line: Admission[GenerationRun] = Admission(
            slots=plan.slots, num_blocks=plan.cache.num_blocks, block_size=plan.cache.block_size
        )
        self._prefixes: PromptPrefixes[GenerationRun] = PromptPrefixes(
            block_size=plan.cache.block_size
        )
        # The keys keep the native requests alive: one that nobody holds is cancelled.
        self._inside: dict[Request, Sequence] = {}
        self._paused: dict[GenerationRun, Sequence] = {}
        self._barren_steps = 0

    @property
    def busy(self) -> bool:
        return bool(self._inside) or self._line.waiting > 0

    @property
    def running(self) -> int:
        return len(self._inside)

    def add(self, run: GenerationRun) -> None:
        worst_case = len(run.request.prompt_tokens) + run.request.max_tokens
        if worst_case > self._cache.limit_tokens:
            run.fail(
                PromptTooLongError(
                    f"prompt and answer may have {worst_case} tokens; this model takes at most"
                    f" {self._cache.limit_tokens}"
                )
            )
        else:
            self._prefixes.join(run, run.request.prompt_tokens)
            self._line.join(
                run,
                tokens=len(run.request.prompt_tokens),
                worst_tokens=worst_case,
                priority=run.priority,
                # The random numbers of a sampled one cannot be taken up again, nor a grammar.
                can_pause=run.request.temperature == 0 and run.request.json_schema is None,
            )

    def step(self) -> None:
        self._drop_cancelled()
        self._pause()
        self._admit()
        if not self._inside:
            return
        try:
            events = self._engine.run(self._events)
        except ERRORS as error:
            raise EngineFailedError(f"onnxruntime-genai failed: {error}") from error
        # A list: every event must be handled.
        self._watch(any([self._handle(event) for event in events]))  # noqa: C419

    def close(self) -> None:
        for native in list(self._inside):
            native.close()
        self._inside.clear()
        del self._events, self._engine

    def _drop_cancelled(self) -> None:
        for run in self._line.remove_waiting(lambda run: run.cancelled):
            self._paused.pop(run, None)
            self._prefixes.leave(run)
            run.drop()
        for sequence in [each for each in self._inside.values() if each.run.cancelled]:
            self._release(sequence)
            sequence.run.drop()

    def _pause(self) -> None:
        """Make room for what the older runs have grown to. What is paused loses no token."""
        while (run := self._line.pause()) is not None:
            sequence = next(each for each in self._inside.values() if each.run is run)
            del self._inside[sequence.native]
            sequence.native.close()
            self._paused[run] = sequence
            self._prefixes.interrupt(run)

    def _admit(self) -> None:
        while (run := self._line.admit(self._prefixes.gains_by_waiting)) is not None:
            sequence = self._paused.pop(run, None)
            if sequence is None:
                stream = TextStream(self._new_detokenizer(), run.request.stop)
                sequence = Sequence(run, stream)
            try:
                sequence.native, sequence.turn = begin(self._engine, sequence.rest)
            except (InvalidRequestError, *ERRORS) as error:
                self._line.release(run)
                self._prefixes.leave(run)
                refused = EngineError(f"the engine refused the request: {error}")
                run.fail(error if isinstance(error, InvalidRequestError) else refused)
                continue
            self._inside[sequence.native] = sequence
            self._prefixes.enter(run)

    def _handle(self, event: EngineEvent) -> bool:
        """Deliver one event; whether it was a token or an end."""
        sequence = self._inside.get(event.request)
        if sequence is None:  # ended by us, with this event still on its way
            return True
        reason = event.finish_reason
        stopped = event.token is not None and sequence.push(event.token)
        if event.token is not None:
            self._line.grow(sequence.run)
            self._prefixes.computed(sequence.run)
        if reason == FinishReason.NONE:
            if stopped:  # the last event, with the usage, follows
                sequence.native.cancel_turn(sequence.turn)
            return event.token is not None
        if reason == FinishReason.FAILED:
            self._refuse(sequence, event.error_code)
            return True
        self._release(sequence)
        sequence.finish()
        cached_tokens = event.usage.cached_prompt_tokens
        sequence.complete("stop" if reason == FinishReason.EOS else "length", cached_tokens)
        return True

    def _refuse(self, sequence: Sequence, code: EngineErrorCode) -> None:
        if code in FATAL:
            try:
                self._engine.run(self._events)  # it says why, once more
            except ERRORS as error:
                raise EngineFailedError(f"onnxruntime-genai failed: {error}") from error
            raise EngineFailedError(f"onnxruntime-genai failed: {code.name}")
        self._release(sequence)
        sequence.run.fail(EngineError(f"the engine could not serve the request: {code.name}"))

    def _release(self, sequence: Sequence) -> None:
        del self._inside[sequence.native]
        self._line.release(sequence.run)
        self._prefixes.leave(sequence.run)
        sequence.native.close()

    def _watch(self, progress: bool) -> None:
        """Steps without a token, far more than the longest prompt takes, are a hang in disguise."""
        self._barren_steps = 0 if progress else self._barren_steps + 1
        if self._barren_steps > _BARREN_STEPS + self._cache.limit_tokens:
            raise EngineFailedError(f"{self._barren_steps} steps in a row brought no token")
