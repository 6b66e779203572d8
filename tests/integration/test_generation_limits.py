"""The limits of the generation engine: context, cache, and what it refuses."""

import pytest

from contract.errors import EmptyPromptError, EngineError, PromptTooLongError
from model_store.manifest import ModelVersion
from tests.support.generation import (
    CONTEXT,
    TIMEOUT_S,
    answer,
    ask,
    open_changed,
    small_cache,
    without_usage,
)
from workers.engine import GenerationRequest
from workers.engine.generation import GenerationEngine


def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(
    engine: GenerationEngine,
) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        ask(engine, "fox " * 2000)
    counted = int(caught.value.detail.split(" tokens")[0].split()[-1])
    assert counted > CONTEXT
    assert str(CONTEXT - 1) in caught.value.detail


def test_an_answer_ends_at_the_end_of_the_context(engine: GenerationEngine) -> None:
    words = "fox " * 5
    while True:
        request = ask(engine, words, max_tokens=5000)
        if request.max_tokens < 20:
            break
        words += "fox "
    assert len(request.prompt_tokens) + request.max_tokens == CONTEXT
    result = answer(engine, request)
    assert result.finish_reason == "length"
    assert result.prompt_tokens + result.completion_tokens == CONTEXT


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_prompt_without_text_is_refused(engine: GenerationEngine, text: str) -> None:
    with pytest.raises(EmptyPromptError):
        ask(engine, text)


def test_a_request_beyond_the_cache_fails_alone(engine: GenerationEngine) -> None:
    good = engine.submit(ask(engine, "good", max_tokens=10))
    bad = engine.submit(GenerationRequest(prompt_tokens=[5] * 1000, max_tokens=1000))
    with pytest.raises(PromptTooLongError):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 10


def test_a_request_that_the_runtime_refuses_fails_alone(engine: GenerationEngine) -> None:
    good = engine.submit(ask(engine, "good", max_tokens=10))
    bad = engine.submit(
        GenerationRequest(prompt_tokens=[5], max_tokens=5, temperature=1.0, seed=-1)
    )
    with pytest.raises(EngineError, match="refused"):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 10


def test_a_small_cache_makes_runs_wait_and_changes_no_answer(
    tiny: ModelVersion, engine: GenerationEngine
) -> None:
    small = open_changed(tiny, cache=small_cache(20))
    requests = [
        ask(engine, f"{n} " * (1 + n % 7), max_tokens=1 + (37 * n) % 150) for n in range(40)
    ]
    runs = [small.submit(request) for request in requests]
    found = [without_usage(run.result(TIMEOUT_S)) for run in runs]
    small.close()
    runs = [engine.submit(request) for request in requests]
    assert found == [without_usage(run.result(TIMEOUT_S)) for run in runs]


def test_a_shared_beginning_is_found_in_the_prefix_cache(engine: GenerationEngine) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    first = answer(engine, ask(engine, f"{words} one", max_tokens=5))
    second = answer(engine, ask(engine, f"{words} two", max_tokens=5))
    assert first.cached_tokens < 32
    assert second.prompt_tokens > second.cached_tokens >= 64
