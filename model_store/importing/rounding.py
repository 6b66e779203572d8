"""Rounding matrices to 8 bits so that their products, not their weights, stay what they were."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model_store.export.llama import Llama
from model_store.export.weights import EightBitRows, Float32, Weights
from model_store.importing.reference_llama import reference_logits

DAMPING = 0.1
"""Of the mean variance of an input, added to each: what few texts say of it is not all."""

_INPUTS = {"o": "o", "gate": "mlp", "up": "mlp", "down": "down", "output": "output"}
_MOST_TURNED = 128
_AT_ONCE = 64

Float64 = NDArray[np.float64]


def rounded(llama: Llama, texts: Sequence[Sequence[int]]) -> Llama:
    """A llama whose matrices ``o``, ``gate``, ``up``, ``down`` and ``output`` come in 8 bits too.

    What ``down`` multiplies no rotation of the residual stream reaches, and a few of its channels
    are far larger than the others; so it is turned itself, by a Hadamard matrix for each so many
    channels. The first and the last layer, which lose the most, stay as they are. The inputs are
    measured over ``texts``.
    """
    inputs: dict[str, Float32] = {}
    reference_logits(llama, texts, watch=inputs.__setitem__)
    return replace(llama, weights=RoundedWeights(llama, inputs))


class RoundedWeights(Weights):
    """Weights of which some can be had in 8 bits."""

    def __init__(self, llama: Llama, inputs: dict[str, Float32]) -> None:
        self._weights = llama.weights
        self._ends = ("0", str(llama.config.layers - 1))
        self._inputs = inputs

    def read(self, name: str) -> Float32:
        """The tensor. Raises ModelImportError."""
        return self._weights.read(name)

    def rows(self, name: str) -> EightBitRows | None:
        """The matrix, rounded for the inputs that were measured."""
        layer, dot, part = name.rpartition(".")
        if part not in _INPUTS or layer in self._ends:
            return None
        matrix, inputs = self._weights.read(name), self._inputs[layer + dot + _INPUTS[part]]
        if part != "down":
            return round_rows(matrix, inputs)
        turn = hadamard(math.gcd(matrix.shape[1], _MOST_TURNED))
        return replace(round_rows(_turned(matrix, turn), _turned(inputs, turn)), turn=turn)


def hadamard(size: int) -> Float32:
    """The symmetric rotation of so many channels, a power of two, that mixes all alike."""
    rows = np.ones((1, 1))
    while len(rows) < size:
        rows = np.block([[rows, rows], [rows, -rows]])
    rotation: Float32 = (rows / np.sqrt(size)).astype(np.float32)
    return rotation


def _turned(values: Float32, turn: Float32) -> Float32:
    turned: Float32 = (values.reshape(-1, len(turn)) @ turn).reshape(values.shape)
    return turned


def round_rows(matrix: Float32, inputs: Float32) -> EightBitRows:
    """Round ``matrix`` ``[out, in]``, a scale for each row, for ``inputs`` ``[n, in]``.

    GPTQ (Frantar et al., 2023): columns are rounded one after another, and what a column's
    rounding changes in ``inputs @ matrix.T`` is made good, as far as possible, by those that are
    still to come. The columns with the largest inputs come first.
    """
    variances = inputs.T.astype(np.float64) @ inputs
    order = np.argsort(-np.diag(variances), kind="stable")
    left: Float64 = matrix.astype(np.float64)[:, order]
    follow = _followers(variances[np.ix_(order, order)])
    scales = np.abs(left).max(axis=1) / 127
    scales[scales == 0] = 1
    codes = np.empty(matrix.shape, np.int8)
    columns = matrix.shape[1]
    for start in range(0, columns, _AT_ONCE):
        end = min(start + _AT_ONCE, columns)
        errors = np.empty((len(left), end - start))
        for column in range(start, end):
            code = np.clip(np.rint(left[:, column] / scales), -127, 127)
            codes[:, order[column]] = code
            error = (left[:, column] - code * scales) / follow[column, column]
            left[:, column + 1 : end] -= np.outer(error, follow[column, column + 1 : end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ follow[start:end, end:]
    return EightBitRows(codes=codes, scales=scales.astype(np.float32))


def _followers(variances: Float64) -> Float64:
    """How the error of each column is shared out: the upper Cholesky factor of the inverse."""
    size = len(variances)
    damped = variances + np.eye(size) * (DAMPING * np.trace(variances) / size + 1e-9)
    upper: Float64 = np.linalg.cholesky(np.linalg.inv(damped)).T
    return upper
