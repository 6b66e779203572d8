"""An engine's first steps: they warm it up, and tell how large its batch should be."""

import time
from dataclasses import replace

import structlog

from contract.errors import EngineFailedError
from model_store.manifest import ModelVersion
from workers.engine.generation_plan import GenerationPlan
from workers.engine.native import ERRORS, Engine, Request, begin, load
from workers.engine.requests import GenerationRequest
from workers.engine.step_times import StepTimes, choose_slots, choose_tokens_per_step

_PROMPT_TOKENS = 128
_MANY_ROWS = 32
_REPEATS = 3
_ANSWER_TOKENS = 4 * _REPEATS  # more than the steps in which a row must be there
_PATIENCE_S = 1.5  # then nothing is repeated: a large model on a slow machine
_WORTH_A_RELOAD = 0.75
_log = structlog.get_logger()


def open_warm(version: ModelVersion, plan: GenerationPlan) -> tuple[Engine, GenerationPlan]:
    """Load a model and run its first steps; the engine, and the plan with what they showed.

    The Engine must know the budget of a step before a model is loaded. So on a machine where a
    step of the usual size takes too long the model is loaded once more, with less.

    Raises:
        DeviceUnavailableError: it would not run on the device of ``plan``.
        EngineFailedError: the first steps failed.
        InvalidModelError: it cannot be loaded.
    """
    engine = load(version, plan)
    started_s = time.monotonic()
    times = measure_steps(engine, plan)
    slots = plan.slots if plan.slots_asked_for else choose_slots(times, most=plan.slots)
    wanted = choose_tokens_per_step(times, slots=slots, most=plan.tokens_per_step)
    again = wanted <= _WORTH_A_RELOAD * plan.tokens_per_step
    warm = replace(plan, slots=slots, tokens_per_step=wanted if again else plan.tokens_per_step)
    _log.info(
        "engine.measured",
        model=version.ref,
        one_row_ms=round(times.one_row_s * 1000, 1),
        many_rows=times.many_rows,
        many_rows_ms=round(times.many_rows_s * 1000, 1),
        mixed_ms=round(times.mixed_s * 1000, 1),
        prompt_tokens_per_s=round(times.prompt_tokens / times.prompt_s),
        slots=slots,
        tokens_per_step=warm.tokens_per_step,
        loads_again=again,
        seconds=round(time.monotonic() - started_s, 2),
    )
    if again:
        del engine  # first, or there would be two in memory
        engine = load(version, warm)
        measure_steps(engine, warm)
    return engine, warm


def measure_steps(engine: Engine, plan: GenerationPlan) -> StepTimes:
    """Run steps of every kind that serving has, on an idle engine. Raises EngineFailedError."""
    steps = _FirstSteps(engine, plan)
    try:
        return steps.run()
    except ERRORS as error:
        raise EngineFailedError(f"onnxruntime-genai failed in its first steps: {error}") from error
    finally:
        steps.close()


class _FirstSteps:
    """Requests whose answers nobody reads."""

    def __init__(self, engine: Engine, plan: GenerationPlan) -> None:
        self._engine = engine
        self._events = engine.create_event_buffer(4 * plan.slots)
        self._vocabulary = plan.vocabulary
        self._rows = min(_MANY_ROWS, plan.slots)
        cache = plan.cache
        free_blocks = cache.num_blocks - (self._rows - 1)  # each other row takes one
        room = min(free_blocks * cache.block_size, cache.limit_tokens) - _ANSWER_TOKENS
        self._prompt_tokens = max(min(_PROMPT_TOKENS, plan.tokens_per_step, room), 1)
        self._due_s = time.monotonic() + _PATIENCE_S
        self._begun: list[Request] = []

    def run(self) -> StepTimes:
        self._begin(1, answer_tokens=1)
        self._step()  # takes memory and chooses kernels
        self._begin(self._prompt_tokens, answer_tokens=1)
        prompt_s = self._step()
        self._begin(self._prompt_tokens)
        prompt_s = min(prompt_s, self._step())
        one_row_s = self._fastest()
        for _ in range(self._rows - 2):
            self._begin(2)
        self._step()
        if self._rows > 1:
            self._begin(2)
        mixed_s = self._step()
        return StepTimes(
            one_row_s=one_row_s,
            many_rows_s=self._fastest(),
            many_rows=self._rows,
            mixed_s=mixed_s,
            prompt_s=prompt_s,
            prompt_tokens=self._prompt_tokens,
        )

    def close(self) -> None:
        for native in self._begun:
            native.close()
        self._begun.clear()

    def _begin(self, prompt_tokens: int, *, answer_tokens: int = _ANSWER_TOKENS) -> None:
        """A prompt that begins unlike those before it, so that the prefix cache has none of it."""
        salt = 101 * (1 + len(self._begun))
        tokens = [(salt + 7 * index) % self._vocabulary for index in range(prompt_tokens)]
        request = GenerationRequest(prompt_tokens=tokens, max_tokens=answer_tokens)
        self._begun.append(begin(self._engine, request)[0])

    def _step(self) -> float:
        if not self._engine.has_pending_requests():  # the model ended every answer at once
            self._begin(1)
        started_s = time.perf_counter()
        self._engine.run(self._events)
        return time.perf_counter() - started_s

    def _fastest(self) -> float:
        """Of a few steps: other programs can only make one slower."""
        fastest_s = self._step()
        for _ in range(_REPEATS - 1):
            if time.monotonic() < self._due_s:
                fastest_s = min(fastest_s, self._step())
        return fastest_s
