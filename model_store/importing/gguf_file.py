"""A GGUF file: metadata and tensors, memory mapped."""

import math
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from numpy.typing import NDArray

from contract.errors import ModelImportError
from model_store.export.weights import Float32, FourBitBlocks
from model_store.importing.gguf_header import HeaderCursor, TensorPlace

Value = TypeVar("Value")
_DEFAULT_ALIGNMENT = 32
#: Kinds with 32 codes of 4 bits in a block, and how many numbers stand before these.
_FOUR_BITS = {GGMLQuantizationType.Q4_0: 1, GGMLQuantizationType.Q4_1: 2}


class GgufFile:
    """An open GGUF file.

    Raises:
        ModelImportError: the file is not GGUF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            cursor = HeaderCursor(self._data)
            tensors, fields = cursor.header()
            self._fields = _unique((cursor.text(), cursor.value()) for _ in range(fields))
            self._tensors = _unique((cursor.text(), cursor.tensor()) for _ in range(tensors))
            self._body = self._body_after(cursor.place)
        except (ValueError, OSError) as error:
            raise ModelImportError(f"{path} is not a GGUF file: {error}") from error

    def optional(self, name: str, kind: type[Value]) -> Value | None:
        """A metadata value, None when it is absent. Raises ModelImportError for another kind."""
        value = self._fields.get(name)
        if kind is float and type(value) is int:
            value = float(value)
        if value is not None and type(value) is not kind:
            raise ModelImportError(f"{self.path}: {name!r} is not of the kind {kind.__name__!r}")
        return value

    def field(self, name: str, kind: type[Value], default: Value) -> Value:
        """A metadata value, or ``default`` when it is absent. Raises like :meth:`optional`."""
        value = self.optional(name, kind)
        return default if value is None else value

    def require(self, name: str, kind: type[Value]) -> Value:
        """A metadata value that must be there. Raises ModelImportError."""
        value = self.optional(name, kind)
        if value is None:
            raise ModelImportError(f"{self.path} has no {name!r}")
        return value

    def require_list(self, name: str, kind: type[Value]) -> list[Value]:
        """A list of one kind of values that must be there. Raises ModelImportError."""
        found = self._fields.get(name)
        if found is None:
            raise ModelImportError(f"{self.path} has no {name!r}")
        values = found.tolist() if isinstance(found, np.ndarray) else found
        if not isinstance(values, list) or any(type(each) is not kind for each in values):
            raise ModelImportError(f"{self.path}: {name!r} is not a list of {kind.__name__!r}")
        return values

    def has_tensor(self, name: str) -> bool:
        """Whether the file holds the tensor."""
        return name in self._tensors

    def rows(self, name: str) -> int:
        """How many rows a tensor has. Raises ModelImportError."""
        return self._place(name).shape[0]

    def tensor(self, name: str) -> Float32:
        """A tensor as float32, whatever its storage. Raises ModelImportError."""
        place = self._place(name)
        stored = self._stored(name, place)
        try:
            values = dequantize(stored, place.kind)
        except NotImplementedError as error:
            raise ModelImportError(
                f"{self.path}: {name!r} is stored as {place.kind.name}: {error}"
            ) from error
        # A file may lay its bytes anywhere; BLAS is slow on arrays that are not aligned.
        return np.require(values, np.float32, ["ALIGNED"])

    def blocks(self, name: str) -> FourBitBlocks | None:
        """A matrix as it is stored; None when that is not Q4_0 or Q4_1. Raises ModelImportError.

        A block of Q4_0 is a scale and 32 codes, one of Q4_1 a scale, a smallest weight and 32
        codes; the first half of them is in the lower halves of the bytes.
        """
        place = self._place(name)
        if place.kind not in _FOUR_BITS or len(place.shape) != 2:
            return None
        _, size = GGML_QUANT_SIZES[place.kind]
        stored = self._stored(name, place).reshape(place.shape[0], -1, size)
        numbers = _FOUR_BITS[place.kind]
        head = np.ascontiguousarray(stored[..., : 2 * numbers]).view("<f2").astype(np.float32)
        bytes_ = stored[..., 2 * numbers :]
        scales = head[..., 0]
        return FourBitBlocks(
            codes=np.concatenate([bytes_ & 15, bytes_ >> 4], axis=-1),
            scales=scales,
            offsets=head[..., 1] + 8 * scales if numbers == 2 else np.zeros_like(scales),
        )

    def _stored(self, name: str, place: TensorPlace) -> NDArray[np.uint8]:
        """The bytes of a tensor, row by row."""
        block, size = GGML_QUANT_SIZES[place.kind]
        elements, columns = math.prod(place.shape), place.shape[-1]
        start, length = self._body + place.offset, elements // block * size
        if columns % block or start + length > len(self._data):
            raise ModelImportError(f"{self.path}: tensor {name!r} lies outside the file")
        stored = np.frombuffer(self._data[start : start + length], np.uint8)
        return stored.reshape(*place.shape[:-1], -1)

    def _place(self, name: str) -> TensorPlace:
        if name not in self._tensors:
            raise ModelImportError(f"{self.path} has no tensor {name!r}")
        return self._tensors[name]

    def _body_after(self, header_end: int) -> int:
        alignment = self._fields.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment < 1 << 32:
            raise ValueError("its alignment is not a size")
        return -(-header_end // alignment) * alignment


def _unique(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {name!r} twice")
        found[name] = value
    return found
