"""A plain forward pass of a llama in numpy: what the written graphs are held against.

It is written from the papers (Touvron et al., LLaMA, 2023; Su et al., RoFormer, 2021) and
shares nothing with the graph writer but the numbers and the weights.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from model_store.export.llama import Llama, LlamaConfig
from model_store.export.weights import Float32

Watch = Callable[[str, Float32], None]


def reference_logits(
    llama: Llama, texts: Sequence[Sequence[int]], *, watch: Watch | None = None
) -> list[Float32]:
    """Logits ``[tokens, vocabulary]`` after every token of each text.

    Each layer's weights are read once for all texts, so that they need not fit in memory.
    ``watch`` is shown what is multiplied by matrices, ``[all tokens, in]``: ``N.o``, ``N.mlp`` (by
    gate and up) and ``N.down`` of a layer, and ``output``.
    """
    config, weights = llama.config, llama.weights
    show = watch or _unseen
    spans = [slice(start, end) for start, end in pairwise(np.cumsum([0, *map(len, texts)]))]
    x = weights.read("embedding")[np.concatenate([np.asarray(text) for text in texts])]
    for layer in range(config.layers):
        get = {
            part: weights.read(f"{layer}.{part}")
            for part in ("attention_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down")
        }
        h = _rms_norm(x, get["attention_norm"], config.rms_epsilon)
        q, k, v = (h @ get[part].T for part in ("q", "k", "v"))
        attended = np.concatenate([_attend(config, q[span], k[span], v[span]) for span in spans])
        show(f"{layer}.o", attended)
        x = x + attended @ get["o"].T
        h = _rms_norm(x, get["mlp_norm"], config.rms_epsilon)
        show(f"{layer}.mlp", h)
        gate = h @ get["gate"].T
        gated = gate / (1 + np.exp(-gate)) * (h @ get["up"].T)
        show(f"{layer}.down", gated)
        x = x + gated @ get["down"].T
    x = _rms_norm(x, weights.read("final_norm"), config.rms_epsilon)
    show("output", x)
    logits = x @ llama.output_weight().T
    return [logits[span] for span in spans]


def _unseen(_name: str, _x: Float32) -> None:
    """For a pass that nobody watches."""


def _rms_norm(x: Float32, weight: Float32, epsilon: float) -> Float32:
    scale: Float32 = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon))
    return x * scale * weight


def _attend(config: LlamaConfig, q: Float32, k: Float32, v: Float32) -> Float32:
    """Causal attention of one text; heads share keys and values in groups."""
    count, size = len(q), config.head_size
    queries = _rotate(q.reshape(count, config.heads, size), config)
    keys = _rotate(k.reshape(count, config.kv_heads, size), config)
    values = v.reshape(count, config.kv_heads, size)
    group = config.heads // config.kv_heads
    future = np.triu(np.full((count, count), -np.inf, np.float32), 1)
    outputs = []
    for head in range(config.heads):
        scores = queries[:, head] @ keys[:, head // group].T / np.float32(np.sqrt(size)) + future
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        outputs.append(weights / weights.sum(axis=-1, keepdims=True) @ values[:, head // group])
    return np.concatenate(outputs, axis=-1)


def _rotate(x: Float32, config: LlamaConfig) -> Float32:
    """Rotate each pair (i, i + size / 2) of ``x`` ``[tokens, heads, size]`` by its position."""
    count, _, size = x.shape
    frequency = config.rope_base ** (-np.arange(size // 2) * 2.0 / size)
    if config.rope_factors:
        frequency = frequency / np.asarray(config.rope_factors)
    angle = np.arange(count)[:, None, None] * frequency
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    left, right = x[..., : size // 2], x[..., size // 2 :]
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
