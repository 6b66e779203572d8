"""Text generation on onnxruntime-genai's Engine: continuous batching over a paged KV cache."""

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import structlog

from contract.errors import (
    DeviceUnavailableError,
    EngineError,
    EngineFailedError,
    InvalidModelError,
    MissingDependencyError,
    PromptTooLongError,
)
from model_store.manifest import ModelVersion
from model_store.tokenizer import TextTokenizer
from workers.engine.admission import Admission
from workers.engine.cache_plan import CachePlan
from workers.engine.detokenizer import open_detokenizer
from workers.engine.device import CPU, CUDA
from workers.engine.engine_thread import EngineThread
from workers.engine.generation_plan import GenerationPlan
from workers.engine.prompts import generation_request
from workers.engine.requests import GenerationRequest, GenerationResult
from workers.engine.sequence import GenerationRun, Sequence
from workers.engine.text_stream import TextStream

try:
    import onnxruntime_genai as og
except ImportError as error:
    raise MissingDependencyError(
        "onnxruntime-genai is not installed; install the extra `cpu` or `gpu`"
    ) from error

# What the binding raises: its own failures, and arguments that it cannot convert.
_ERRORS = (RuntimeError, ValueError, TypeError, ArithmeticError)
_FATAL = (og.EngineErrorCode.ENGINE_EXECUTION_FAILURE, og.EngineErrorCode.ENGINE_CONTRACT_FAILURE)
_BARREN_STEPS = 1000
_TOP_K_WITH_TOP_P = 50  # sorting the whole vocabulary for top_p would double the cost of a step
_log = structlog.get_logger()


class GenerationEngine(EngineThread[GenerationRequest, GenerationResult]):
    """Generates text for up to ``slots`` requests at once; the others wait in line.

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
        super().__init__(
            f"engine-{version.name}",
            lambda: _Batch(version, plan, self._tokenizer),
            slots=plan.slots,
        )
        _log.info(
            "engine.loaded",
            model=version.ref,
            device=plan.device,
            slots=plan.slots,
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

    def __init__(self, version: ModelVersion, plan: GenerationPlan, tokenizer: TextTokenizer):
        self._engine = _load(version, plan)
        self._events = self._engine.create_event_buffer(4 * plan.slots)
        self._new_detokenizer = open_detokenizer(version.path, tokenizer)
        self._cache: CachePlan = plan.cache
        self._line: Admission[GenerationRun] = Admission(
            slots=plan.slots, num_blocks=plan.cache.num_blocks, block_size=plan.cache.block_size
        )
        # The keys keep the native requests alive: one that nobody holds is cancelled.
        self._inside: dict[og.Request, Sequence] = {}
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
            self._line.join(run, worst_case)

    def step(self) -> None:
        self._drop_cancelled()
        self._admit()
        if not self._inside:
            return
        try:
            events = self._engine.run(self._events)
        except _ERRORS as error:
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
            run.drop()
        for sequence in [each for each in self._inside.values() if each.run.cancelled]:
            self._release(sequence)
            sequence.run.drop()

    def _admit(self) -> None:
        while (run := self._line.admit()) is not None:
            try:
                native, turn = _begin(self._engine, run.request)
            except _ERRORS as error:
                self._line.release(run)
                run.fail(EngineError(f"the engine refused the request: {error}"))
                continue
            stream = TextStream(self._new_detokenizer(), run.request.stop)
            self._inside[native] = Sequence(run, native, turn, stream)

    def _handle(self, event: og.EngineEvent) -> bool:
        """Deliver one event; whether it was a token or an end."""
        sequence = self._inside.get(event.request)
        if sequence is None:  # ended by us, with this event still on its way
            return True
        reason = event.finish_reason
        stopped = event.token is not None and sequence.push(event.token)
        if reason == og.FinishReason.NONE:
            if stopped:  # the last event, with the usage, follows
                sequence.native.cancel_turn(sequence.turn)
            return event.token is not None
        if reason == og.FinishReason.FAILED:
            self._refuse(sequence, event.error_code)
            return True
        self._release(sequence)
        sequence.finish()
        cached_tokens = event.usage.cached_prompt_tokens
        sequence.complete("stop" if reason == og.FinishReason.EOS else "length", cached_tokens)
        return True

    def _refuse(self, sequence: Sequence, code: og.EngineErrorCode) -> None:
        if code in _FATAL:
            try:
                self._engine.run(self._events)  # it says why, once more
            except _ERRORS as error:
                raise EngineFailedError(f"onnxruntime-genai failed: {error}") from error
            raise EngineFailedError(f"onnxruntime-genai failed: {code.name}")
        self._release(sequence)
        sequence.run.fail(EngineError(f"the engine could not serve the request: {code.name}"))

    def _release(self, sequence: Sequence) -> None:
        del self._inside[sequence.native]
        self._line.release(sequence.run)
        sequence.native.close()

    def _watch(self, progress: bool) -> None:
        """Steps without a token, far more than the longest prompt takes, are a hang in disguise."""
        self._barren_steps = 0 if progress else self._barren_steps + 1
        if self._barren_steps > _BARREN_STEPS + self._cache.limit_tokens:
            raise EngineFailedError(f"{self._barren_steps} steps in a row brought no token")


def _load(version: ModelVersion, plan: GenerationPlan) -> og.Engine:
    try:
        config = og.Config(str(version.path))
        config.overlay(json.dumps(plan.overlay()))
        if plan.device == CPU:
            config.clear_providers()
        else:
            config.append_provider(CUDA)
            config.set_provider_option(CUDA, "device_id", str(plan.device_index))
        model = og.Model(config)
        engine = og.Engine(model)
    except _ERRORS as error:
        kind = InvalidModelError if plan.device == CPU else DeviceUnavailableError
        raise kind(f"{version.ref} cannot be loaded on {plan.device}: {error}") from error
    # Without a usable CUDA the library may fall back to the CPU and say nothing.
    if str(model.device_type).lower() != plan.device:
        raise DeviceUnavailableError(
            f"{version.ref} was to run on {plan.device} and was loaded on {model.device_type}"
        )
    return engine


def _begin(engine: og.Engine, request: GenerationRequest) -> tuple[og.Request, int]:
    """Hand a request to the Engine, which refuses with one of ``_ERRORS``; request and turn."""
    session = og.RequestOptions()
    session.set_max_session_tokens(len(request.prompt_tokens) + request.max_tokens)
    native = engine.create_request(options=session)
    try:
        turn = og.TurnOptions(native)
        turn.set_max_generated_tokens(request.max_tokens)
        turn.set_do_sample(request.temperature > 0)
        if request.temperature > 0:
            turn.set_temperature(request.temperature)
            turn.set_top_p(request.top_p)
            narrowed = request.top_p < 1 and not request.top_k
            turn.set_top_k(_TOP_K_WITH_TOP_P if narrowed else request.top_k)
            if request.seed is not None:
                turn.set_seed(request.seed)
        return native, native.begin_turn(np.asarray(request.prompt_tokens, np.int32), turn)
    except _ERRORS:
        native.close()
        raise
