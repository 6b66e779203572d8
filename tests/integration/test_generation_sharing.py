"""How runs share the steps and the cache of the generation engine."""

import threading
from collections.abc import Callable, Iterator

import pytest

from model_store.manifest import ModelVersion
from tests.support.generation import (
    SLOTS,
    TIMEOUT_S,
    answer,
    ask,
    open_changed,
    small_cache,
    without_usage,
)
from tests.support.waiting import eventually
from workers.engine import GenerationRequest, GenerationResult, Run
from workers.engine.generation import GenerationEngine

_CACHE_BLOCKS = 20


@pytest.fixture
def narrow(tiny: ModelVersion) -> Iterator[GenerationEngine]:
    """An engine whose steps are as small as they may be: two tokens for each slot."""
    engine = open_changed(tiny, tokens_per_step=2 * SLOTS)
    yield engine
    engine.close()


@pytest.fixture
def small(tiny: ModelVersion) -> Iterator[GenerationEngine]:
    """An engine whose cache holds 320 tokens."""
    engine = open_changed(tiny, cache=small_cache(_CACHE_BLOCKS))
    yield engine
    engine.close()


class Onlooker:
    """Long answers that fill most slots; one of them counts the steps, a token in each.

    ``each_step`` runs on the engine's thread, so nothing happens between a step and it.
    """

    def __init__(self, engine: GenerationEngine, answers: int) -> None:
        self.step = 0
        self.each_step: Callable[[], None] = lambda: None
        self._engine = engine
        self._lock = threading.Lock()
        self._runs: list[Run[GenerationRequest, GenerationResult]] = []
        self.waits: list[int] = []
        """Steps from the submit of each request to its first text."""
        for number in range(answers):
            request = ask(engine, f"Tell me all about {number}", max_tokens=900)
            self._runs.append(engine.submit(request, self._count if number == 0 else None))
        eventually(lambda: self.step > 3 and engine.running == answers)

    def _count(self, _: str, tokens: int) -> None:
        self.step = tokens
        self.each_step()

    def submit(self, request: GenerationRequest) -> Run[GenerationRequest, GenerationResult]:
        """Ask, and note how many steps pass until the first text."""
        asked_at, seen = self.step, False

        def on_text(_: str, tokens: int) -> None:
            nonlocal seen
            if not seen:
                self.waits.append(self.step - asked_at)
            seen = True

        return self._engine.submit(request, on_text)

    def stop(self) -> None:
        """End the long answers."""
        for run in self._runs:
            run.cancel()


def test_a_prompt_waits_for_no_answer_to_end_however_long_all_others_decode(
    engine: GenerationEngine,
) -> None:
    requests = [ask(engine, f"Short {n}", max_tokens=3) for n in range(40)]
    onlooker = Onlooker(engine, SLOTS - 1)
    runs = [onlooker.submit(requests.pop())]

    def next_when_done() -> None:
        if requests and runs[-1].done:
            runs.append(onlooker.submit(requests.pop()))

    onlooker.each_step = next_when_done
    eventually(lambda: not requests and runs[-1].done)
    onlooker.stop()
    assert len(onlooker.waits) == 40
    assert max(onlooker.waits) <= 2


def test_a_long_prompt_has_its_share_of_every_step_beside_answers_and_a_stream_of_short_prompts(
    narrow: GenerationEngine,
) -> None:
    long = GenerationRequest(prompt_tokens=[5 + n % 600 for n in range(800)], max_tokens=2)
    shorts = [ask(narrow, f"Short {n}", max_tokens=2) for n in range(300)]
    onlooker = Onlooker(narrow, SLOTS // 2)
    joined: list[Run[GenerationRequest, GenerationResult]] = []
    waiting: list[Run[GenerationRequest, GenerationResult]] = []

    def ask_at_each_step() -> None:
        if not joined:
            joined.append(onlooker.submit(long))
        elif shorts and not joined[0].done and sum(not run.done for run in waiting) < SLOTS:
            waiting.append(narrow.submit(shorts.pop()))

    onlooker.each_step = ask_at_each_step
    eventually(lambda: bool(onlooker.waits))
    onlooker.stop()
    for run in waiting:
        run.cancel()
    # The line lets it in when a slot is free; then at least 8 of the 16 tokens are for prompts, and
    # each of the three others that may be there has one of them.
    assert len(waiting) > 10
    assert onlooker.waits[0] <= 800 / (SLOTS - 3) + 5


def test_more_runs_are_inside_than_could_stay_and_who_gives_way_loses_no_token(
    small: GenerationEngine, engine: GenerationEngine
) -> None:
    requests = [ask(engine, f"Tell me of {n}", max_tokens=200) for n in range(SLOTS)]
    requests += [
        ask(engine, f"Dream of {n}", max_tokens=100, temperature=1.5, seed=n) for n in range(SLOTS)
    ]
    pieces: list[list[str]] = [[] for _ in requests]
    inside: list[int] = []

    def ask_small(number: int) -> Run[GenerationRequest, GenerationResult]:
        def on_text(text: str, _: int) -> None:
            pieces[number].append(text)
            inside.append(small.running)

        return small.submit(requests[number], on_text)

    runs = [ask_small(number) for number in range(len(requests))]
    found = [without_usage(run.result(TIMEOUT_S)) for run in runs]
    # Each of the first grows to more than 200 of the 320 tokens.
    assert max(inside) >= 4
    assert ["".join(shown) for shown in pieces] == [result.text for result in found]
    runs = [engine.submit(request) for request in requests]
    assert found == [without_usage(run.result(TIMEOUT_S)) for run in runs]
    assert found[0] == without_usage(answer(engine, requests[0]))


def test_a_run_can_be_cancelled_after_it_gave_way(small: GenerationEngine) -> None:
    requests = [ask(small, f"Tell me of {n}", max_tokens=250) for n in range(4)]
    grown = threading.Event()
    runs = [
        small.submit(each, lambda _, tokens: grown.set() if tokens > 120 else None)
        for each in requests
    ]
    assert grown.wait(TIMEOUT_S)
    assert small.running < 4
    for run in runs[1:]:
        run.cancel()
    assert runs[0].result(TIMEOUT_S).completion_tokens == 250
    eventually(lambda: small.running == small.pending == 0)


def test_an_urgent_run_enters_before_those_that_wait_for_room(small: GenerationEngine) -> None:
    # Sampled, so that each holds most of the cache from its beginning to its end.
    whole = GenerationRequest(prompt_tokens=[5] * 20, max_tokens=300, temperature=1.0, seed=1)
    first = small.submit(whole)
    eventually(lambda: small.running == 1)
    order: list[str] = []

    def noting(name: str, priority: int) -> Run[GenerationRequest, GenerationResult]:
        return small.submit(
            ask(small, f"Note {name}", max_tokens=250, temperature=1.0, seed=2),
            lambda *_: None if name in order else order.append(name),
            priority=priority,
        )

    runs = [noting("usual", 5), noting("patient", 9), noting("urgent", 0)]
    assert not first.done
    for run in runs:
        run.result(TIMEOUT_S)
    assert order == ["urgent", "usual", "patient"]


def test_prompts_that_begin_alike_compute_what_they_share_once(
    engine: GenerationEngine,
) -> None:
    preface = " ".join(f"rule {number} of the house" for number in range(60))
    asked = [ask(engine, f"{preface} {number}?", max_tokens=4) for number in range(SLOTS)]
    together = [run.result(TIMEOUT_S) for run in [engine.submit(each) for each in asked]]
    alone = [engine.submit(each).result(TIMEOUT_S) for each in asked]

    shared = len(asked[0].prompt_tokens) // 16 * 16 - 16
    assert together[0].cached_tokens < 64
    assert all(each.cached_tokens >= shared for each in together[1:])
    assert [each.text for each in together] == [each.text for each in alone]
