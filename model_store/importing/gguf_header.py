"""Reads the header of a GGUF file: metadata, and where the tensors lie.

The format is described in ggml's docs/gguf.md. Counts and lengths are held against the size of
the file before anything is made of them: a file of a few bytes must not cost gigabytes, nor hours
(gguf's own reader goes on past the end of the file).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4",
    6: "<f4", 7: "<?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlace:
    """Where a tensor lies. ``shape`` has the rows first; GGUF writes the columns first."""

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int


class HeaderCursor:
    """A place in the header that moves on with what is read. Raises ValueError at its end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.place = 0

    def header(self) -> tuple[int, int]:
        """How many tensors and how many fields the file says that it has."""
        if bytes(self._take(len(_MAGIC))) != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self._number("<u4")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} is not known")
        return self._number("<u8"), self._number("<u8")

    def text(self) -> str:
        """A string: its length in bytes, then UTF-8."""
        return str(self._take(self._number("<u8")), "utf-8")

    def value(self) -> Any:
        """A metadata value: the number of its type, then itself. A list's are of one type."""
        kind = self._number("<u4")
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self._number(_scalar(kind))
        inner, count = self._number("<u4"), self._number("<u8")
        if inner == _STRING:
            return [self.text() for _ in range(count)]
        form = np.dtype(_scalar(inner))
        return np.frombuffer(self._take(count * form.itemsize), form)

    def tensor(self) -> TensorPlace:
        """Where a tensor lies, counted from the end of the header."""
        dimensions = self._number("<u4")
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        shape = tuple(self._number("<u8") for _ in range(dimensions))[::-1]
        kind = GGMLQuantizationType(self._number("<u4"))
        if 0 in shape:
            raise ValueError("a tensor has no elements")
        return TensorPlace(shape=shape, kind=kind, offset=self._number("<u8"))

    def _number(self, form: str) -> Any:
        return np.frombuffer(self._take(np.dtype(form).itemsize), form)[0].item()

    def _take(self, count: int) -> memoryview:
        end = self.place + count
        if end > len(self._data):
            raise ValueError("it ends in the middle of its header")
        taken, self.place = self._data[self.place : end], end
        return taken


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"values of type {kind} are not known")
    return _SCALARS[kind]
