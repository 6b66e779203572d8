"""What a writer of graphs needs from a source of weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.errors import ModelImportError

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FourBitBlocks:
    """A matrix that its source holds in 4 bits a weight: ``scales * (codes - 8) + offsets``.

    ``codes`` ``[out, in / 32, 32]`` are 0 to 15; ``scales`` and ``offsets`` ``[out, in / 32]``.
    """

    codes: NDArray[np.uint8]
    scales: Float32
    offsets: Float32

    @classmethod
    def joined(cls, parts: Sequence["FourBitBlocks"]) -> "FourBitBlocks":
        """The rows of several matrices as one."""
        return cls(
            codes=np.concatenate([part.codes for part in parts]),
            scales=np.concatenate([part.scales for part in parts]),
            offsets=np.concatenate([part.offsets for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EightBitRows:
    """A matrix that was rounded to 8 bits, each row by itself: ``codes * scales``.

    ``codes`` ``[out, in]`` are -127 to 127; ``scales`` ``[out]``. With ``turn`` ``[n, n]`` the
    matrix is meant for inputs of which each n channels have been multiplied by it.
    """

    codes: NDArray[np.int8]
    scales: Float32
    turn: Float32 | None = None

    @classmethod
    def joined(cls, parts: Sequence["EightBitRows"]) -> "EightBitRows":
        """The rows of several matrices as one; they have one turn."""
        return cls(
            codes=np.concatenate([part.codes for part in parts]),
            scales=np.concatenate([part.scales for part in parts]),
            turn=parts[0].turn,
        )


class Weights(Protocol):
    """Named float32 tensors, read one at a time so that a model need not fit in memory twice.

    Matrices are ``[out, in]``. Implemented over GGUF, over safetensors and in memory.
    """

    def read(self, name: str) -> Float32:
        """The tensor; raises ModelImportError naming it when it is absent."""
        ...

    def blocks(self, name: str) -> FourBitBlocks | None:  # noqa: ARG002 (most hold none)
        """The same matrix as its source holds it; None when that is not in blocks of 4 bits."""
        return None

    def rows(self, name: str) -> EightBitRows | None:  # noqa: ARG002 (most hold none)
        """The same matrix, rounded to 8 bits row by row; None when nobody has done that."""
        return None


class MemoryWeights(Weights):
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
