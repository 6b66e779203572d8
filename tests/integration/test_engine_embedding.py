"""The embedding engine on a tiny real encoder."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from contract.errors import (
    EmptyPromptError,
    EngineError,
    EngineFailedError,
    PromptTooLongError,
    RunCancelledError,
)
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert
from tests.support.waiting import eventually
from workers.engine import EmbeddingRequest, EmbeddingResult, check_fitness, open_engine
from workers.engine.embedding import EmbeddingEngine

CONTEXT = 128
TIMEOUT_S = 60.0
WORDS = ["the", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "to", "the", "river"]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return write_tiny_bert(ModelStore(tmp_path_factory.mktemp("models")))


def _open(version: ModelVersion) -> EmbeddingEngine:
    engine = open_engine(version, slots=4, threads=1, device="cpu")
    assert isinstance(engine, EmbeddingEngine)
    return engine


@pytest.fixture(scope="module")
def shared_engine(version: ModelVersion) -> Iterator[EmbeddingEngine]:
    engine = _open(version)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: EmbeddingEngine) -> Iterator[EmbeddingEngine]:
    """An idle engine; the test must leave nothing behind in it."""
    yield shared_engine
    eventually(lambda: shared_engine.running == shared_engine.pending == 0)
    assert shared_engine.failure is None


def _texts(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 20))) for _ in range(count)]


def _embed(engine: EmbeddingEngine, texts: list[str]) -> EmbeddingResult:
    return engine.submit(engine.prompt({"texts": texts}, {})).result(TIMEOUT_S)


def test_a_text_has_the_same_vector_alone_and_among_others(engine: EmbeddingEngine) -> None:
    texts = _texts(90)
    together = _embed(engine, texts)
    alone = [_embed(engine, [text]) for text in texts]
    assert together.vectors.shape == (90, alone[0].vectors.shape[1])
    assert together.vectors.dtype == np.float32
    difference = np.abs(together.vectors - np.concatenate([each.vectors for each in alone])).max()
    assert difference < 1e-6
    assert together.prompt_tokens == sum(each.prompt_tokens for each in alone)


def test_vectors_come_in_the_order_of_the_texts(engine: EmbeddingEngine) -> None:
    texts = [" ".join(WORDS[:length]) for length in (9, 1, 5, 3, 7)]
    forward, backward = _embed(engine, texts), _embed(engine, texts[::-1])
    assert np.allclose(forward.vectors, backward.vectors[::-1], atol=1e-6)
    assert not np.allclose(forward.vectors, backward.vectors, atol=1e-3)


def test_runs_share_batches_and_each_gets_its_own(engine: EmbeddingEngine) -> None:
    groups = [_texts(1 + n % 5, seed=n) for n in range(30)]
    runs = [engine.submit(engine.prompt({"texts": texts}, {})) for texts in groups]
    found = [run.result(TIMEOUT_S).vectors for run in runs]
    for texts, vectors in zip(groups, found, strict=True):
        assert np.allclose(vectors, _embed(engine, texts).vectors, atol=1e-6)


def test_a_text_beyond_the_context_is_refused_by_its_index_and_not_cut(
    engine: EmbeddingEngine,
) -> None:
    with pytest.raises(PromptTooLongError, match=f"text 1 has .* at most {CONTEXT}"):
        engine.prompt({"texts": ["short", "river " * 200]}, {})


def test_a_text_as_long_as_the_context_is_embedded(engine: EmbeddingEngine) -> None:
    words = "river"
    while True:
        request = engine.prompt({"texts": [words]}, {})
        if len(request.texts_tokens[0]) == CONTEXT:
            break
        words += " a"
    assert engine.submit(request).result(TIMEOUT_S).prompt_tokens == CONTEXT


@pytest.mark.parametrize("texts", [[], [""], ["fine", "  "]])
def test_an_empty_text_is_refused(engine: EmbeddingEngine, texts: list[str]) -> None:
    with pytest.raises(EmptyPromptError):
        engine.prompt({"texts": texts}, {})


def test_a_cancelled_run_ends_and_its_neighbours_do_not(engine: EmbeddingEngine) -> None:
    long = engine.submit(engine.prompt({"texts": _texts(3000)}, {}))
    long.cancel()
    neighbour = engine.submit(engine.prompt({"texts": _texts(3)}, {}))
    with pytest.raises(RunCancelledError):
        long.result(TIMEOUT_S)
    assert neighbour.result(TIMEOUT_S).vectors.shape[0] == 3


def test_an_urgent_run_is_embedded_before_those_that_wait(engine: EmbeddingEngine) -> None:
    order: list[str] = []

    def noting(name: str, texts: int, priority: int) -> None:
        run = engine.submit(engine.prompt({"texts": _texts(texts)}, {}), priority=priority)
        run.when_done(lambda: order.append(name))

    for number in range(4):
        noting(f"inside {number}", 600, 5)
    eventually(lambda: engine.running > 0)
    noting("usual", 1, 5)
    noting("urgent", 1, 0)
    eventually(lambda: len(order) == 6)
    assert order.index("urgent") < order.index("usual")


def test_the_golden_texts_are_embedded_as_recorded(
    engine: EmbeddingEngine, version: ModelVersion
) -> None:
    assert version.manifest.golden
    check_fitness(engine, version)


def test_a_graph_that_breaks_fails_every_run_and_is_visible(version: ModelVersion) -> None:
    engine = _open(version)
    bad = engine.submit(EmbeddingRequest(texts_tokens=[[10**6]]))
    with pytest.raises(EngineFailedError):
        bad.result(TIMEOUT_S)
    assert engine.failure is not None
    with pytest.raises(EngineFailedError):
        _embed(engine, ["late"])
    engine.close()


def test_a_closed_engine_refuses(version: ModelVersion) -> None:
    engine = _open(version)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        _embed(engine, ["late"])
