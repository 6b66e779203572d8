"""What a writer of graphs needs from a source of weights."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]


class Weights(Protocol):
    """Named float32 tensors, read one at a time so that a model need not fit in memory twice.

    Matrices are ``[out, in]``. Implemented over GGUF, over safetensors and in memory.
    """

    def read(self, name: str) -> Float32:
        """The tensor; raises ModelImportError naming it when it is absent."""
        ...
