"""Reads tensors out of safetensors files: a JSON table, then raw little-endian bytes."""

import json
import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import ModelImportError
from model_store.export.weights import Float32
from model_store.json_file import read_object
from model_store.verify import is_inside

_HEADER_LIMIT_BYTES = 100_000_000
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
_BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    RecursionError,
    struct.error,
)
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"


class SafetensorsFiles:
    """The tensors of one or several safetensors files, memory mapped.

    Raises:
        ModelImportError: a file is not safetensors.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._tensors: dict[str, tuple[memoryview, str, tuple[int, ...]]] = {}
        for path in paths:
            try:
                self._open(path)
            except _BROKEN as error:
                raise ModelImportError(f"{path} is not a safetensors file: {error!r}") from error

    @classmethod
    def in_folder(cls, folder: Path) -> "SafetensorsFiles":
        """The files of a Hugging Face folder, split by an index or not."""
        index = folder / INDEX_FILE
        if index.is_file():
            table = read_object(index, ModelImportError).get("weight_map")
            names = set(map(str, table.values())) if isinstance(table, dict) else set()
        else:
            names = {SINGLE_FILE}
        for name in names:
            if "/" in name or not is_inside(name) or not (folder / name).is_file():
                raise ModelImportError(f"{folder} has no file {name!r} with weights")
        return cls(folder / name for name in sorted(names))

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str) -> Float32:
        """A tensor as float32. Raises ModelImportError."""
        if name not in self._tensors:
            raise ModelImportError(f"the weights have no tensor {name!r}")
        data, kind, shape = self._tensors[name]
        if kind not in _TYPES:
            raise ModelImportError(f"tensor {name!r} is stored as {kind}, which is not supported")
        values = np.frombuffer(data, dtype=_TYPES[kind])
        if kind == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        # A file may lay its bytes anywhere; BLAS is slow on arrays that are not aligned.
        return np.require(values.reshape(shape), np.float32, ["ALIGNED"])

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(_HEADER_LIMIT_BYTES, len(data) - 8):
            raise ValueError("its header is longer than the file")
        header: dict[str, Any] = json.loads(bytes(data[8 : 8 + length]))
        body = data[8 + length :]
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            if not 0 <= start <= end <= len(body):
                raise ValueError(f"tensor {name!r} lies outside the file")
            self._tensors[name] = (body[start:end], entry["dtype"], tuple(entry["shape"]))
