"""Refuses models that reach outside their folder or ask for foreign code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from contract.errors import InvalidModelError
from model_store.json_file import read_object
from model_store.tokenizer import GENAI_CONFIG_FILE
from model_store.verify import is_inside

# The operator sets that ONNX Runtime itself brings. Any other domain needs a library to be
# loaded into the process, which a model file must not decide.
_KNOWN_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
    }
)
_LIBRARY_SUFFIXES = (".so", ".dll", ".dylib", ".pyd", ".exe")


def check_onnx_files(folder: Path) -> None:
    """Check the graphs and the runtime's configuration; refuse libraries anywhere below.

    Raises:
        InvalidModelError: names the file and what is wrong with it.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in _LIBRARY_SUFFIXES or ".so." in path.name:
            raise InvalidModelError(f"{path} is a library; a model may not bring code")
        if path.suffix == ".onnx":
            _check_file(path)
        if path.name == GENAI_CONFIG_FILE:
            _check_config(path)


def _check_file(path: Path) -> None:
    if path.is_symlink():
        raise InvalidModelError(f"{path} is a symbolic link")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise InvalidModelError(f"{path} is not an ONNX file: {error}") from error
    local = {function.domain for function in model.functions}
    for opset in model.opset_import:
        if opset.domain not in _KNOWN_DOMAINS | local:
            raise InvalidModelError(
                f"{path} needs operators of {opset.domain!r}; custom operators are not loaded"
            )
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location":
                _check_location(path, tensor.name, entry.value)


def _check_config(path: Path) -> None:
    """onnxruntime-genai loads libraries and files that its configuration names."""
    for key, value in _entries(read_object(path)):
        if "library" in key or "custom_op" in key:
            raise InvalidModelError(f"{path} has {key!r}; a model may not bring code")
        names_file = key.endswith(("filename", "path", "file", "location"))
        if names_file and value and not (isinstance(value, str) and is_inside(value)):
            raise InvalidModelError(f"{path}: {key!r} is {value!r}, outside the model's folder")


def _entries(record: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON objects, in lower case, with its value."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield key.lower(), value
            yield from _entries(value)
    elif isinstance(record, list):
        for each in record:
            yield from _entries(each)


def _check_location(path: Path, tensor: str, location: str) -> None:
    where = f"{path}: tensor {tensor!r} lies in {location!r}"
    if not is_inside(location):
        raise InvalidModelError(f"{where}, outside the model's folder")
    target = path.parent / location
    if target.is_symlink() or Path(os.path.realpath(target)) != path.parent.resolve() / location:
        raise InvalidModelError(f"{where}, which is reached through a symbolic link")
    if not target.is_file():
        raise InvalidModelError(f"{where}, which is missing")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield sparse.values
                yield sparse.indices
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs.extend((attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ())
