"""Weights that stand rounding better: activations lend them the size of their largest channels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model_store.export.llama import Llama
from model_store.export.weights import Float32, Weights
from model_store.importing.reference_llama import reference_logits

STRENGTH = 0.5
"""How much of a channel's size moves: 0 leaves all in the activations, 1 all in the weights."""

_LEAST = 1e-5


def smoothed(llama: Llama, texts: Sequence[Sequence[int]]) -> Llama:
    """A llama that computes the same, with other weights (SmoothQuant, Xiao et al., 2022).

    Numbers that are rounded share a scale with their neighbours, so one large channel of an
    activation costs the others their precision. Each channel of the input of ``down`` is divided
    by a factor, in the rows of ``up``, and its column of ``down`` multiplied by it. The factors are
    measured over ``texts``.
    """
    peaks: dict[str, Float32] = {}

    def watch(name: str, x: Float32) -> None:
        peaks[name] = _peaks(x)

    reference_logits(llama, texts, watch=watch)
    factors = [
        _factor(peaks[f"{layer}.down"], _peaks(llama.weights.read(f"{layer}.down")))
        for layer in range(llama.config.layers)
    ]
    return replace(llama, weights=SmoothedWeights(llama.weights, factors))


class SmoothedWeights(Weights):
    """Weights with a factor ``[feed_forward]`` for each layer in them."""

    def __init__(self, weights: Weights, factors: Sequence[Float32]) -> None:
        self._weights = weights
        self._factors = factors

    def read(self, name: str) -> Float32:
        """The tensor. Raises ModelImportError."""
        values = self._weights.read(name)
        layer, _, part = name.rpartition(".")
        match part:
            case "up":
                return values / self._factors[int(layer)][:, None]
            case "down":
                return values * self._factors[int(layer)]
        return values


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
