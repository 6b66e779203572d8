"""The generation engine on the tiny llama, and requests for it."""

import dataclasses
from typing import Any

from model_store.manifest import ModelVersion
from workers.engine import GenerationRequest, GenerationResult, open_engine
from workers.engine.cache_plan import CachePlan
from workers.engine.generation import GenerationEngine
from workers.engine.generation_plan import plan_generation

SLOTS = 8
CONTEXT = 1024  # tokens of the tiny llama
TIMEOUT_S = 60.0


def open_tiny(version: ModelVersion, slots: int = SLOTS) -> GenerationEngine:
    """A new engine on one thread; the caller closes it."""
    engine = open_engine(version, slots=slots, threads=1, device="cpu")
    assert isinstance(engine, GenerationEngine)
    return engine


def open_changed(version: ModelVersion, *, slots: int = SLOTS, **changes: Any) -> GenerationEngine:
    """A new engine on one thread whose plan has ``changes``; the caller closes it."""
    plan = plan_generation(version, slots=slots, threads=1, device="cpu")
    return GenerationEngine(version, dataclasses.replace(plan, **changes))


def small_cache(num_blocks: int) -> CachePlan:
    """A cache that is soon full."""
    return CachePlan(num_blocks=num_blocks, block_size=16, limit_tokens=16 * num_blocks)


def ask(
    engine: GenerationEngine, text: str, *, seed: int | None = None, **parameters: object
) -> GenerationRequest:
    """A request with one message; raises PromptTooLongError or EmptyPromptError."""
    stored_input = {"messages": [{"role": "user", "content": text}]}
    return engine.prompt(stored_input, parameters, seed=seed)


def answer(engine: GenerationEngine, request: GenerationRequest) -> GenerationResult:
    """Run one request to its end."""
    return engine.submit(request).result(TIMEOUT_S)


def without_usage(result: GenerationResult) -> GenerationResult:
    """The result less what depends on the runs before it."""
    return dataclasses.replace(result, cached_tokens=0)
