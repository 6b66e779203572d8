"""A plain forward pass of a BERT sentence encoder in numpy: the reference for its graph."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np

from model_store.export.bert import Bert
from model_store.export.weights import Float32


def reference_embeddings(bert: Bert, texts: Sequence[Sequence[int]]) -> Float32:
    """Embeddings ``[texts, hidden]`` of length 1 (Devlin et al., BERT, 2019)."""
    read, size = bert.weights.read, bert.config.head_size
    spans = [slice(start, end) for start, end in pairwise(np.cumsum([0, *map(len, texts)]))]
    places = read("embeddings.position_embeddings.weight")
    x = read("embeddings.word_embeddings.weight")[np.concatenate([np.asarray(t) for t in texts])]
    x = x + np.concatenate([places[: len(text)] for text in texts])
    x = _norm(bert, "embeddings.LayerNorm", x + read("embeddings.token_type_embeddings.weight")[0])
    for layer in range(bert.config.layers):
        prefix = f"encoder.layer.{layer}."
        q, k, v = (
            _linear(bert, f"{prefix}attention.self.{part}", x) for part in ("query", "key", "value")
        )
        h = np.empty_like(x)
        for span, head in product(spans, range(bert.config.heads)):
            part = (span, slice(head * size, (head + 1) * size))
            h[part] = _attend(q[part], k[part], v[part])
        h = _linear(bert, f"{prefix}attention.output.dense", h)
        x = _norm(bert, f"{prefix}attention.output.LayerNorm", x + h)
        h = _gelu(_linear(bert, f"{prefix}intermediate.dense", x))
        h = _linear(bert, f"{prefix}output.dense", h)
        x = _norm(bert, f"{prefix}output.LayerNorm", x + h)
    means = np.stack([x[span].mean(axis=0) for span in spans])
    embeddings: Float32 = means / np.linalg.norm(means, axis=-1, keepdims=True)
    return embeddings


def _linear(bert: Bert, name: str, x: Float32) -> Float32:
    result: Float32 = x @ bert.weights.read(f"{name}.weight").T
    return result + bert.weights.read(f"{name}.bias")


def _norm(bert: Bert, name: str, x: Float32) -> Float32:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(variance + np.float32(bert.config.norm_epsilon))
    result: Float32 = scaled * bert.weights.read(f"{name}.weight")
    return result + bert.weights.read(f"{name}.bias")


def _attend(q: Float32, k: Float32, v: Float32) -> Float32:
    scores = q @ k.T / np.float32(np.sqrt(q.shape[-1]))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attended: Float32 = weights / weights.sum(axis=-1, keepdims=True) @ v
    return attended


def _gelu(x: Float32) -> Float32:
    """x Phi(x), with the error function after Abramowitz and Stegun 7.1.26 (error 1.5e-7)."""
    z = np.abs(x.astype(np.float64)) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    result: Float32 = (x * (1 + erf) / 2).astype(np.float32)
    return result
