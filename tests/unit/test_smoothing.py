"""Weights that are smoothed compute the same, and lose less when they are rounded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from model_store.export.llama import Llama
from model_store.export.llama_graph import INT8, write_llama_graph
from model_store.export.weights import MemoryWeights
from model_store.importing.exactness import compare
from model_store.importing.reference_llama import reference_logits
from model_store.importing.smoothing import smoothed
from model_store.paged_session import PagedSession
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.models import llama_weights

MEASURED = [list(range(3, 80)), list(range(400, 300, -3))]
JUDGED = [[5], [7, 9, 300, 41, 5, 5, 6], list(range(100, 160))]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    """A llama with two channels of forty times the size in each input of its MLPs."""
    tiny = write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models")))
    llama = random_llama(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))
    weights = llama_weights(llama)
    large = np.ones(llama.config.hidden, np.float32)
    large[[3, 17]] = 40
    for layer in range(llama.config.layers):
        weights[f"{layer}.mlp_norm"] = weights[f"{layer}.mlp_norm"] * large
        for part in ("gate", "up"):
            weights[f"{layer}.{part}"] = weights[f"{layer}.{part}"] / large
    return replace(llama, weights=MemoryWeights(weights))


def test_smoothed_weights_compute_the_same(uneven: Llama) -> None:
    assert uneven.config.kv_heads < uneven.config.heads
    after = smoothed(uneven, MEASURED)
    changed = {"mlp_norm", "gate", "up", "down", "v", "o"}
    for part in ("attention_norm", "q", "k", *changed):
        before, now = uneven.weights.read(f"0.{part}"), after.weights.read(f"0.{part}")
        assert (not np.array_equal(before, now)) == (part in changed), part
    pairs = zip(reference_logits(uneven, JUDGED), reference_logits(after, JUDGED), strict=True)
    for before, now in pairs:
        assert np.abs(before - now).max() < 1e-4 * np.abs(before).max()


def test_smoothed_weights_lose_less_when_they_and_their_inputs_are_rounded(
    uneven: Llama, tmp_path: Path
) -> None:
    expected = reference_logits(uneven, JUDGED)
    errors = []
    for name, llama in (("plain", uneven), ("smoothed", smoothed(uneven, MEASURED))):
        folder = tmp_path / name
        folder.mkdir()
        write_llama_graph(llama, folder, form=INT8)
        session = PagedSession(folder / "model.onnx", rows=len(JUDGED), row_tokens=128)
        errors.append(compare(session, JUDGED, expected).max_logit_error)
    assert errors[1] < errors[0] / 2, errors
