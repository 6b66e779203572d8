"""What a writer of graphs needs from a source of weights."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.errors import ModelImportError

Float32 = NDArray[np.float32]


class Weights(Protocol):
    """Named float32 tensors, read one at a time so that a model need not fit in memory twice.

    Matrices are ``[out, in]``. Implemented over GGUF, over safetensors and in memory.
    """

    def read(self, name: str) -> Float32:
        """The tensor; raises ModelImportError naming it when it is absent."""
        ...


class MemoryWeights:
    """Weights that are arrays already."""

    def __init__(self, tensors: Mapping[str, Float32]) -> None:
        self._tensors = tensors

    def read(self, name: str) -> Float32:
        """The tensor. Raises ModelImportError."""
        if name not in self._tensors:
            raise ModelImportError(f"there is no weight {name!r}")
        return self._tensors[name]


def require_shape(name: str, values: Float32, shape: tuple[int, ...]) -> Float32:
    """``values``, which must have ``shape``. Raises ModelImportError naming the weight."""
    if values.shape != shape:
        raise ModelImportError(f"weight {name!r} has the shape {values.shape}, not {shape}")
    return values
