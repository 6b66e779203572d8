"""Weights in another basis, in which no channel of an activation is larger than the others."""

from dataclasses import replace

import numpy as np

from model_store.export.llama import Llama
from model_store.export.weights import Float32, Weights

_SEED = 7
_READS_RESIDUAL = {"q": "attention_norm", "k": "attention_norm", "v": "attention_norm",
                   "gate": "mlp_norm", "up": "mlp_norm"}  # fmt: skip


def rotated(llama: Llama) -> Llama:
    """A llama that computes the same, with other weights (QuaRot, Ashkboos et al., 2024).

    Numbers that are rounded together share a scale, so one large channel costs the others their
    precision. A turn of the residual stream by a random rotation spreads each channel over all;
    what reads the stream is turned back, and RMS norms do not notice once their own weights are
    part of the matrices behind them. The values of a head are turned as well, and ``o`` back.

    A tied model has an ``output`` of its own afterwards.
    """
    config = replace(llama.config, tied=False)
    return replace(llama, config=config, weights=RotatedWeights(llama))


class RotatedWeights(Weights):
    """Weights with the rotations in them."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        draw = np.random.default_rng(_SEED)
        self._residual = _rotation(draw, llama.config.hidden)
        self._head = _rotation(draw, llama.config.head_size)

    def read(self, name: str) -> Float32:
        """The tensor. Raises ModelImportError."""
        weights = self._llama.weights
        layer, _, part = name.rpartition(".")
        if part.endswith("norm"):
            return np.ones_like(weights.read(name))
        if part == "embedding":
            return self._turn(weights.read(name))
        if part == "output":
            return self._turn(self._llama.output_weight(), weights.read("final_norm"))
        values = weights.read(name)
        if part in _READS_RESIDUAL:
            turned = self._turn(values, weights.read(f"{layer}.{_READS_RESIDUAL[part]}"))
            return self._turn_heads(turned.T).T if part == "v" else turned
        if part == "o":
            values = self._turn_heads(values)
        return self._turn(values.T).T

    def _turn(self, values: Float32, norm: Float32 | None = None) -> Float32:
        """``values`` ``[n, hidden]`` in the other basis, with the weights of a norm before it."""
        if norm is not None:
            values = np.multiply(values, norm, dtype=np.float32)
        turned: Float32 = values @ self._residual
        return turned

    def _turn_heads(self, values: Float32) -> Float32:
        """``values`` ``[n, heads * head_size]`` with each head turned."""
        by_head = values.reshape(len(values), -1, self._llama.config.head_size)
        turned: Float32 = (by_head @ self._head).reshape(values.shape)
        return turned


def _rotation(draw: np.random.Generator, size: int) -> Float32:
    rotation: Float32 = np.linalg.qr(draw.standard_normal((size, size)))[0].astype(np.float32)
    return rotation
