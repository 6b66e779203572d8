"""Weights that stand rounding better: activations lend them the size of their largest channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_store.export.llama import Llama, LlamaConfig
from model_store.export.weights import Float32, Weights
from model_store.importing.reference_llama import reference_logits

STRENGTH = 0.5
"""How much of a channel's size moves: 0 leaves all in the activations, 1 all in the weights."""

_LEAST = 1e-5


def smoothed(llama: Llama, texts: Sequence[Sequence[int]]) -> Llama:
    """A llama that computes the same, with other weights (SmoothQuant, Xiao et al., 2022).

    Numbers that are rounded share a scale with their neighbours, so one large channel of an
    activation costs the others their precision. Each channel of an input is divided by a factor, in
    the weights before it, and its column of the matrix multiplied by it. The factors are those of
    the inputs of ``o``, ``gate``, ``up`` and ``down``, measured over ``texts``.
    """
    peaks: dict[str, Float32] = {}

    def watch(name: str, x: Float32) -> None:
        peaks[name] = _peaks(x)

    reference_logits(llama, texts, watch=watch)
    factors = [_factors(llama, layer, peaks) for layer in range(llama.config.layers)]
    return replace(llama, weights=SmoothedWeights(llama, factors))


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What the inputs of one layer's matrices are divided by, per channel.

    ``mlp`` ``[hidden]`` is that of gate and up, ``down`` ``[feed_forward]``, ``o``
    ``[kv_heads, head_size]``, since the heads of a group share their values.
    """

    mlp: Float32
    down: Float32
    o: Float32


class SmoothedWeights(Weights):
    """Weights with a layer's factors in them."""

    def __init__(self, llama: Llama, factors: Sequence[Factors]) -> None:
        self._weights = llama.weights
        self._config = llama.config
        self._factors = factors

    def read(self, name: str) -> Float32:
        """The tensor. Raises ModelImportError."""
        values = self._weights.read(name)
        layer, _, part = name.rpartition(".")
        if not layer:
            return values
        by = self._factors[int(layer)]
        match part:
            case "mlp_norm":
                return values / by.mlp
            case "gate":
                return values * by.mlp
            case "up":
                return values * by.mlp / by.down[:, None]
            case "down":
                return values * by.down
            case "v":
                return values / by.o.reshape(-1, 1)
            case "o":
                return values * _for_all_heads(by.o, self._config)
        return values


def _factors(llama: Llama, layer: int, peaks: dict[str, Float32]) -> Factors:
    config = llama.config

    def columns(*parts: str) -> Float32:
        joined = np.concatenate([llama.weights.read(f"{layer}.{part}") for part in parts])
        return _peaks(joined)

    def of_heads(values: Float32) -> Float32:
        largest: Float32 = values.reshape(config.kv_heads, -1, config.head_size).max(axis=1)
        return largest

    return Factors(
        mlp=_factor(peaks[f"{layer}.mlp"], columns("gate", "up")),
        down=_factor(peaks[f"{layer}.down"], columns("down")),
        o=_factor(of_heads(peaks[f"{layer}.o"]), of_heads(columns("o"))),
    )


def _peaks(rows: Float32) -> Float32:
    """The largest magnitude of each column."""
    largest: Float32 = np.abs(rows).max(axis=0)
    return largest


def _factor(activations: Float32, weights: Float32) -> Float32:
    """By the largest magnitudes of both, around 1."""
    sizes = np.maximum(activations, _LEAST) ** STRENGTH
    factor = sizes / np.maximum(weights, _LEAST) ** (1 - STRENGTH)
    around_one: Float32 = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
    return around_one


def _for_all_heads(of_kv_heads: Float32, config: LlamaConfig) -> Float32:
    group = config.heads // config.kv_heads
    return np.repeat(of_kv_heads, group, axis=0).reshape(-1)
