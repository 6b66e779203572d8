"""Weights for the 8-bit form compute the same as before, and lose less when they are rounded."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from model_store.export.graph import FLOAT, INT64, GraphWriter
from model_store.export.llama import LAYER_WEIGHTS, Llama
from model_store.export.llama_graph import INT8, write_llama_graph
from model_store.export.quantization import write_rows, write_zeros
from model_store.export.weights import EightBitRows, Float32, MemoryWeights
from model_store.importing.exactness import compare
from model_store.importing.reference_llama import reference_logits
from model_store.importing.rotation import rotated
from model_store.importing.rounding import hadamard, round_rows, rounded
from model_store.importing.smoothing import smoothed
from model_store.paged_session import PagedSession
from model_store.runtime import open_session
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.models import llama_weights

MEASURED = [list(range(3, 80)), list(range(400, 300, -3))]
JUDGED = [[5], [7, 9, 300, 41, 5, 5, 6], list(range(100, 160))]
LAYERS = 4


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    """A llama with two channels of forty times the size in each input of its matrices."""
    tiny = write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models")))
    llama = random_llama(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))
    weights = llama_weights(llama)
    for layer, part in itertools.product(range(2, LAYERS), LAYER_WEIGHTS):
        weights[f"{layer}.{part}"] = weights[f"{layer % 2}.{part}"]
    for layer in range(LAYERS):
        scale(weights, f"{layer}.attention_norm", [f"{layer}.{part}" for part in "qkv"])
        scale(weights, f"{layer}.mlp_norm", [f"{layer}.gate", f"{layer}.up"])
        scale(weights, f"{layer}.up", [f"{layer}.down"])
    config = replace(llama.config, layers=LAYERS)
    return replace(llama, config=config, weights=MemoryWeights(weights))


def scale(weights: dict[str, Float32], before: str, after: list[str]) -> None:
    """Make two channels larger where they are made, and smaller where they are used."""
    large = np.ones(len(weights[before]), np.float32)
    large[[3, 17]] = 40
    weights[before] = (weights[before].T * large).T
    for name in after:
        weights[name] = weights[name] / large


def smoothed_and_measured(llama: Llama) -> Llama:
    return smoothed(llama, MEASURED)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (smoothed_and_measured, {"up", "down"}),
        (rotated, set(LAYER_WEIGHTS)),
    ],
)
def test_changed_weights_compute_the_same(
    change: Callable[[Llama], Llama], parts: set[str], uneven: Llama
) -> None:
    assert uneven.config.kv_heads < uneven.config.heads
    after = change(uneven)
    for part in LAYER_WEIGHTS:
        before, now = uneven.weights.read(f"0.{part}"), after.weights.read(f"0.{part}")
        assert (not np.allclose(before, now)) == (part in parts), part
    same_logits(uneven, after)


def test_a_tied_model_is_rotated_to_one_with_an_output_of_its_own(uneven: Llama) -> None:
    tied = replace(uneven, config=replace(uneven.config, tied=True))
    after = rotated(tied)
    assert not after.config.tied
    same_logits(tied, after)


def same_logits(one: Llama, other: Llama) -> None:
    pairs = zip(reference_logits(one, JUDGED), reference_logits(other, JUDGED), strict=True)
    for before, now in pairs:
        assert np.abs(before - now).max() < 1e-4 * np.abs(before).max()


def test_rotated_and_smoothed_weights_lose_less_when_they_and_their_inputs_are_rounded(
    uneven: Llama, tmp_path: Path
) -> None:
    expected = reference_logits(uneven, JUDGED)

    def error(name: str, llama: Llama) -> float:
        folder = tmp_path / name
        folder.mkdir()
        write_llama_graph(llama, folder, form=INT8)
        session = PagedSession(folder / "model.onnx", rows=len(JUDGED), row_tokens=128)
        return compare(session, JUDGED, expected).max_logit_error

    blocks, rows = error("blocks", uneven), error("rows", rounded(uneven, MEASURED))
    turned = error("turned rows", rounded(rotated(uneven), MEASURED))
    both = error("both", rounded(rotated(smoothed(uneven, MEASURED)), MEASURED))
    print(f"blocks {blocks:.2f}, rows {rows:.2f}, turned {turned:.2f}, as published {both:.2f}")
    assert both < turned < min(blocks, rows) / 2


def test_the_ends_and_what_makes_queries_keys_and_values_are_not_rounded_in_rows(
    uneven: Llama,
) -> None:
    weights = rounded(uneven, MEASURED).weights
    names = [f"{layer}.{part}" for layer in range(LAYERS) for part in LAYER_WEIGHTS]
    in_rows = {name for name in [*names, "output", "embedding"] if weights.rows(name)}
    inner = {f"{layer}.{part}" for layer in (1, 2) for part in ("o", "gate", "up", "down")}
    assert in_rows == inner | {"output"}


def test_rounding_for_its_inputs_changes_products_less_than_rounding_to_nearest() -> None:
    draw = np.random.default_rng(1)
    matrix = draw.standard_normal((40, 96)).astype(np.float32)
    mixed = draw.standard_normal((12, 96)).astype(np.float32)
    inputs = (draw.standard_normal((400, 12)) @ mixed).astype(np.float32)
    found = round_rows(matrix, inputs)
    scales = np.abs(matrix).max(axis=1, keepdims=True) / 127
    nearest = np.rint(matrix / scales) * scales

    def error(values: Float32) -> float:
        return float(np.square(inputs @ (values - matrix).T).mean())

    assert np.abs(found.codes).max() <= 127
    assert error(found.codes * found.scales[:, None]) < error(nearest) / 3


def test_a_row_of_zeros_stays_zero() -> None:
    found = round_rows(np.zeros((2, 32), np.float32), np.ones((3, 32), np.float32))
    assert not found.codes.any()
    assert np.isfinite(found.scales).all()


def test_a_product_in_rows_is_that_of_rounded_numbers_whatever_else_is_in_the_batch(
    tmp_path: Path,
) -> None:
    draw = np.random.default_rng(2)
    codes = draw.integers(-127, 128, (24, 64)).astype(np.int8)
    matrix = EightBitRows(
        codes=codes, scales=draw.uniform(0.01, 1, 24).astype(np.float32), turn=hadamard(32)
    )
    with GraphWriter(tmp_path) as graph:
        graph.input("x", FLOAT, ["rows", 64])
        graph.input("tokens", INT64, ["rows"])
        graph.output("y", FLOAT, ["rows", 24])
        write_rows(graph, "x", "m", matrix, "y", write_zeros(graph, "tokens", "zeros"))
        graph.save({})
    session = open_session(tmp_path / "model.onnx")

    def multiply(x: Float32) -> Float32:
        found: Float32 = session.run(["y"], {"x": x, "tokens": np.zeros(len(x), np.int64)})[0]
        return found

    x = (draw.standard_normal((7, 64)) * np.logspace(-3, 3, 7)[:, None]).astype(np.float32)
    x[5] = 0
    turned = (x.reshape(-1, 32) @ hadamard(32)).reshape(x.shape)
    steps = np.maximum(np.abs(turned).max(axis=1, keepdims=True) / 127, 1e-30)
    expected = (np.rint(turned / steps) @ codes.T.astype(np.float64)) * steps * matrix.scales
    together = multiply(x)
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-6)
    for row in range(len(x)):
        np.testing.assert_array_equal(multiply(x[row : row + 1])[0], together[row])


def test_a_hadamard_turn_is_its_own_inverse() -> None:
    turn = hadamard(128)
    np.testing.assert_allclose(turn @ turn, np.eye(128), atol=1e-6)
    np.testing.assert_allclose(np.abs(turn), 128**-0.5, rtol=1e-6)
