"""The generation engine on a tiny real model: the very runtime, scheduler and cache."""

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contract.errors import (
    DeviceUnavailableError,
    EmptyPromptError,
    EngineError,
    EngineFailedError,
    InvalidModelError,
    PromptTooLongError,
    RunCancelledError,
    UnfitWorkerError,
)
from model_store.manifest import GoldenPrompt, ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.waiting import eventually
from workers.engine import GenerationRequest, GenerationResult, check_fitness, open_engine
from workers.engine.cache_plan import CachePlan
from workers.engine.generation import GenerationEngine
from workers.engine.generation_plan import GenerationPlan, plan_generation

SLOTS = 8
CONTEXT = 1024
TIMEOUT_S = 60.0
PROMPTS = [
    f"Tell me about the {word}." for word in ["fox", "dog", "river", "moon", "stone", "bird"]
]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models")))


def _open(version: ModelVersion, slots: int = SLOTS) -> GenerationEngine:
    engine = open_engine(version, slots=slots, threads=1, device="cpu")
    assert isinstance(engine, GenerationEngine)
    return engine


@pytest.fixture(scope="module")
def shared_engine(version: ModelVersion) -> Iterator[GenerationEngine]:
    engine = _open(version)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: GenerationEngine) -> Iterator[GenerationEngine]:
    """An idle engine; the test must leave nothing behind in it."""
    yield shared_engine
    eventually(lambda: shared_engine.running == shared_engine.pending == 0)
    assert shared_engine.failure is None


@pytest.fixture
def own_engine(version: ModelVersion) -> Iterator[GenerationEngine]:
    """An engine that the test may break."""
    engine = _open(version)
    yield engine
    engine.close()


def _ask(
    engine: GenerationEngine, text: str, *, seed: int | None = None, **parameters: object
) -> GenerationRequest:
    stored_input = {"messages": [{"role": "user", "content": text}]}
    return engine.prompt(stored_input, parameters, seed=seed)


def _answer(engine: GenerationEngine, request: GenerationRequest) -> GenerationResult:
    return engine.submit(request).result(TIMEOUT_S)


def _without_usage(result: GenerationResult) -> GenerationResult:
    return dataclasses.replace(result, cached_tokens=0)


# --- what comes out -----------------------------------------------------------------------


def test_greedy_answers_are_the_same_alone_and_in_any_batch(engine: GenerationEngine) -> None:
    requests = [_ask(engine, text, max_tokens=20 + 7 * n) for n, text in enumerate(PROMPTS)]
    alone = [_without_usage(_answer(engine, request)) for request in requests]
    assert len({result.text for result in alone}) == len(PROMPTS)
    for order in (requests, requests[::-1]):
        runs = [engine.submit(request) for request in order]
        together = [_without_usage(run.result(TIMEOUT_S)) for run in runs]
        assert together == (alone if order is requests else alone[::-1])


def test_the_first_batch_of_an_engine_on_used_memory_answers_as_any_other(
    version: ModelVersion,
) -> None:
    """A cache line that nobody has written may hold anything, a NaN too."""
    answers = []
    for _ in range(3):
        engine = _open(version, slots=20)
        texts = [f"story {n} " + "river " * (3 * n) for n in range(20)]
        runs = [engine.submit(_ask(engine, text, max_tokens=40)) for text in texts]
        answers.append([run.result(TIMEOUT_S).text for run in runs])
        engine.close()
    assert answers[1:] == answers[:1] * 2


def test_more_requests_than_slots_all_finish(engine: GenerationEngine) -> None:
    runs = [engine.submit(_ask(engine, f"Number {n}", max_tokens=12)) for n in range(5 * SLOTS)]
    results = [run.result(TIMEOUT_S) for run in runs]
    assert [result.completion_tokens for result in results] == [12] * (5 * SLOTS)


def test_the_pieces_shown_are_the_text(engine: GenerationEngine) -> None:
    pieces: list[tuple[str, int]] = []
    request = _ask(engine, "A wild one", max_tokens=200, temperature=100.0, seed=3)
    result = engine.submit(request, lambda text, tokens: pieces.append((text, tokens))).result(
        TIMEOUT_S
    )
    assert "".join(text for text, _ in pieces) == result.text
    assert all(text for text, _ in pieces)
    counts = [tokens for _, tokens in pieces]
    assert counts == sorted(counts)
    assert counts[-1] == result.completion_tokens


def test_a_late_joiner_answers_as_if_alone_and_need_not_wait(engine: GenerationEngine) -> None:
    short, long = _ask(engine, "short", max_tokens=8), _ask(engine, "long", max_tokens=600)
    alone = [_without_usage(_answer(engine, request)) for request in (short, long)]
    under_way = threading.Event()
    first = engine.submit(long, lambda _, tokens: under_way.set() if tokens > 5 else None)
    assert under_way.wait(TIMEOUT_S)
    second = engine.submit(short)
    assert _without_usage(second.result(TIMEOUT_S)) == alone[0]
    assert not first.done
    assert _without_usage(first.result(TIMEOUT_S)) == alone[1]


def test_a_seed_repeats_its_answer_alone_and_in_a_batch(engine: GenerationEngine) -> None:
    def ask(seed: int) -> GenerationRequest:
        return _ask(engine, "Dream", max_tokens=40, temperature=1.5, top_p=0.9, seed=seed)

    alone = _answer(engine, ask(7))
    runs = [engine.submit(ask(seed)) for seed in (7, 8, 9, 7)]
    texts = [run.result(TIMEOUT_S).text for run in runs]
    assert texts[0] == texts[3] == alone.text
    assert len(set(texts)) == 3


def test_the_first_token_is_the_answer_of_the_whole_vocabulary_only_without_top_k(
    engine: GenerationEngine,
) -> None:
    def first_words(**parameters: object) -> set[str]:
        requests = [
            _ask(engine, "Draw", max_tokens=1, temperature=100.0, seed=seed, **parameters)
            for seed in range(300)
        ]
        return {run.result(TIMEOUT_S).text for run in [engine.submit(each) for each in requests]}

    assert len(first_words(top_k=2)) <= 2
    # top_p over the whole vocabulary is narrowed to the 50 likeliest tokens.
    assert 10 < len(first_words(top_p=0.999)) <= 50
    assert len(first_words()) > 100


def test_an_answer_that_the_model_ends_has_the_reason_stop(engine: GenerationEngine) -> None:
    requests = [
        _ask(engine, "End", max_tokens=900, temperature=100.0, seed=seed)
        for seed in range(2 * SLOTS)
    ]
    results = [run.result(TIMEOUT_S) for run in [engine.submit(each) for each in requests]]
    ended = [result for result in results if result.completion_tokens < 900]
    assert ended
    assert {result.finish_reason for result in ended} == {"stop"}


# --- stop strings -------------------------------------------------------------------------


def test_a_stop_string_across_tokens_cuts_exactly_there(engine: GenerationEngine) -> None:
    pieces: list[str] = []
    whole = engine.submit(
        _ask(engine, "stop here", max_tokens=60), lambda text, _: pieces.append(text)
    ).result(TIMEOUT_S)
    middle = len(pieces) // 2
    stop = pieces[middle][-1:] + pieces[middle + 1] + pieces[middle + 2][:1]
    shown: list[str] = []
    result = engine.submit(
        _ask(engine, "stop here", max_tokens=60, stop=["never", stop]),
        lambda text, _: shown.append(text),
    ).result(TIMEOUT_S)
    assert result.text == "".join(shown) == whole.text[: whole.text.index(stop)]
    assert result.finish_reason == "stop"
    assert result.completion_tokens < whole.completion_tokens
    assert result.prompt_tokens == whole.prompt_tokens


def test_a_stopped_run_leaves_the_batch_at_once(engine: GenerationEngine) -> None:
    whole = _answer(engine, _ask(engine, "leave", max_tokens=10))
    neighbour = engine.submit(_ask(engine, "neighbour", max_tokens=900))
    runs = [
        engine.submit(_ask(engine, "leave", max_tokens=900, stop=[whole.text[:3]]))
        for _ in range(3 * SLOTS)
    ]
    assert {run.result(TIMEOUT_S).text for run in runs} == {""}
    assert not neighbour.done
    neighbour.cancel()


# --- limits -------------------------------------------------------------------------------


def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(
    engine: GenerationEngine,
) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        _ask(engine, "fox " * 2000)
    counted = int(caught.value.detail.split(" tokens")[0].split()[-1])
    assert counted > CONTEXT
    assert str(CONTEXT - 1) in caught.value.detail


def test_an_answer_ends_at_the_end_of_the_context(engine: GenerationEngine) -> None:
    words = "fox " * 5
    while True:
        request = _ask(engine, words, max_tokens=5000)
        if request.max_tokens < 20:
            break
        words += "fox "
    assert len(request.prompt_tokens) + request.max_tokens == CONTEXT
    result = _answer(engine, request)
    assert result.finish_reason == "length"
    assert result.prompt_tokens + result.completion_tokens == CONTEXT


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_prompt_without_text_is_refused(engine: GenerationEngine, text: str) -> None:
    with pytest.raises(EmptyPromptError):
        _ask(engine, text)


def test_a_request_beyond_the_cache_fails_alone(engine: GenerationEngine) -> None:
    good = engine.submit(_ask(engine, "good", max_tokens=10))
    bad = engine.submit(GenerationRequest(prompt_tokens=[5] * 1000, max_tokens=1000))
    with pytest.raises(PromptTooLongError):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 10


def test_a_request_that_the_runtime_refuses_fails_alone(engine: GenerationEngine) -> None:
    good = engine.submit(_ask(engine, "good", max_tokens=10))
    bad = engine.submit(
        GenerationRequest(prompt_tokens=[5], max_tokens=5, temperature=1.0, seed=-1)
    )
    with pytest.raises(EngineError, match="refused"):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 10


def test_a_small_cache_makes_runs_wait_and_changes_no_answer(
    version: ModelVersion, engine: GenerationEngine
) -> None:
    plan = dataclasses.replace(
        plan_generation(version, slots=SLOTS, threads=1, device="cpu"),
        cache=CachePlan(num_blocks=20, block_size=16, limit_tokens=320),
    )
    small = GenerationEngine(version, plan)
    requests = [
        _ask(engine, f"{n} " * (1 + n % 7), max_tokens=1 + (37 * n) % 150) for n in range(40)
    ]
    runs = [small.submit(request) for request in requests]
    found = [_without_usage(run.result(TIMEOUT_S)) for run in runs]
    small.close()
    runs = [engine.submit(request) for request in requests]
    assert found == [_without_usage(run.result(TIMEOUT_S)) for run in runs]


def test_a_shared_beginning_is_found_in_the_prefix_cache(engine: GenerationEngine) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    first = _answer(engine, _ask(engine, f"{words} one", max_tokens=5))
    second = _answer(engine, _ask(engine, f"{words} two", max_tokens=5))
    assert first.cached_tokens < 32
    assert second.prompt_tokens > second.cached_tokens >= 64


# --- cancel -------------------------------------------------------------------------------


def test_a_cancelled_run_shows_nothing_more(engine: GenerationEngine) -> None:
    shown: list[int] = []

    def on_text(_: str, tokens: int) -> None:
        shown.append(tokens)
        if tokens >= 5:
            run.cancel()

    run = engine.submit(_ask(engine, "cancel me", max_tokens=900), on_text)
    with pytest.raises(RunCancelledError):
        run.result(TIMEOUT_S)
    assert shown[-1] == 5


def test_a_cancelled_run_gives_its_room_to_the_next(engine: GenerationEngine) -> None:
    long = [engine.submit(_ask(engine, f"long {n}", max_tokens=950)) for n in range(SLOTS)]
    eventually(lambda: engine.running == SLOTS)
    waiting = engine.submit(_ask(engine, "waiting", max_tokens=5))
    for run in long:
        run.cancel()
    assert waiting.result(TIMEOUT_S).completion_tokens == 5
    for run in long:
        with pytest.raises(RunCancelledError):
            run.result(TIMEOUT_S)


def test_a_run_can_be_cancelled_while_it_waits(engine: GenerationEngine) -> None:
    long = [engine.submit(_ask(engine, f"long {n}", max_tokens=950)) for n in range(SLOTS)]
    waiting = engine.submit(_ask(engine, "waiting", max_tokens=950))
    waiting.cancel()
    with pytest.raises(RunCancelledError):
        waiting.result(TIMEOUT_S)
    assert not any(run.done for run in long)
    for run in long:
        run.cancel()


def test_what_on_text_raises_is_the_failure_of_its_own_run(engine: GenerationEngine) -> None:
    def on_text(_: str, tokens: int) -> None:
        raise LookupError("no such stream")

    bad = engine.submit(_ask(engine, "bad", max_tokens=50), on_text)
    good = engine.submit(_ask(engine, "good", max_tokens=50))
    with pytest.raises(EngineError, match="no such stream"):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 50


# --- health -------------------------------------------------------------------------------


def test_an_idle_engine_ticks(engine: GenerationEngine) -> None:
    before = engine.last_tick_s
    eventually(lambda: engine.last_tick_s > before, timeout_s=2.0)
    assert time.monotonic() - engine.last_tick_s < 1.0


def test_a_hung_step_stops_the_ticking(own_engine: GenerationEngine) -> None:
    let_go = threading.Event()

    def hang(_: str, tokens: int) -> None:
        let_go.wait()

    run = own_engine.submit(_ask(own_engine, "hang", max_tokens=5), hang)
    try:
        eventually(lambda: time.monotonic() - own_engine.last_tick_s > 1.0)
    finally:
        let_go.set()
    assert run.result(TIMEOUT_S).completion_tokens == 5
    eventually(lambda: time.monotonic() - own_engine.last_tick_s < 0.5)


def test_a_fatal_error_fails_every_run_and_is_visible(own_engine: GenerationEngine) -> None:
    # A token outside of the vocabulary breaks the graph in the middle of a batch.
    poison = GenerationRequest(prompt_tokens=[10**6], max_tokens=5)
    with capture_logs() as logs:
        running = own_engine.submit(_ask(own_engine, "neighbour", max_tokens=900))
        eventually(lambda: own_engine.running == 1)
        broken = own_engine.submit(poison)
        for run in (running, broken):
            with pytest.raises(EngineFailedError, match="out of data bounds"):
                run.result(TIMEOUT_S)
    assert own_engine.failure is not None
    assert [entry["event"] for entry in logs] == ["engine.failed"]
    late = own_engine.submit(_ask(own_engine, "late", max_tokens=5))
    with pytest.raises(EngineFailedError):
        late.result(TIMEOUT_S)


def test_close_fails_what_is_unfinished_and_what_comes_later(
    own_engine: GenerationEngine,
) -> None:
    run = own_engine.submit(_ask(own_engine, "unfinished", max_tokens=950))
    own_engine.close()
    own_engine.close()
    late = own_engine.submit(_ask(own_engine, "late", max_tokens=5))
    for each in (run, late):
        with pytest.raises(EngineError, match="closed"):
            each.result(TIMEOUT_S)
    assert own_engine.failure is None


def test_a_process_that_ends_in_the_middle_of_a_step_exits_cleanly(version: ModelVersion) -> None:
    script = f"""
import time
from pathlib import Path
from model_store.store import ModelStore
from workers.engine import GenerationRequest, open_engine
version = ModelStore(Path({str(version.path.parent.parent)!r})).resolve("tiny")
engine = open_engine(version, slots=8, threads=1, device="cpu")
request = GenerationRequest(prompt_tokens=[5, 6, 7], max_tokens=1000)
runs = [engine.submit(request) for _ in range(8)]
while not engine.running:
    time.sleep(0.001)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- opening and fitness ------------------------------------------------------------------


def test_the_golden_prompts_are_answered_as_recorded(
    engine: GenerationEngine, version: ModelVersion
) -> None:
    assert version.manifest.golden
    check_fitness(engine, version)


def test_an_engine_that_answers_otherwise_is_unfit_and_no_prompt_is_told(
    engine: GenerationEngine, version: ModelVersion
) -> None:
    golden = version.manifest.golden
    last = golden[-1]
    assert isinstance(last, GoldenPrompt)
    changed = dataclasses.replace(last, text="something else")
    manifest = dataclasses.replace(version.manifest, golden=(*golden[:-1], changed))
    with pytest.raises(UnfitWorkerError) as caught:
        check_fitness(engine, dataclasses.replace(version, manifest=manifest))
    assert f"golden prompt {len(golden) - 1}" in caught.value.detail
    assert "something else" not in caught.value.detail


def test_a_model_made_for_the_cpu_is_refused_for_cuda(version: ModelVersion) -> None:
    with pytest.raises(DeviceUnavailableError, match="made for cpu"):
        open_engine(version, slots=1, threads=1, device="cuda")


def test_cuda_that_is_not_there_is_refused_and_not_replaced_by_the_cpu(
    version: ModelVersion,
) -> None:
    plan = GenerationPlan(
        device="cuda",
        device_index=99,
        slots=1,
        threads=1,
        cache=CachePlan(num_blocks=64, block_size=16, limit_tokens=CONTEXT),
    )
    with pytest.raises(DeviceUnavailableError):
        GenerationEngine(version, plan)


def test_a_folder_that_is_no_paged_model_is_refused(version: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text('{"model": {}}')
    with pytest.raises(InvalidModelError, match="paged"):
        open_engine(dataclasses.replace(version, path=tmp_path), slots=1, threads=1, device="cpu")
