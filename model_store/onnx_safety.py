"""Refuses ONNX files that reach outside their folder or ask for foreign code."""

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from contract.errors import InvalidModelError
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
    """Check every ``*.onnx`` file and refuse shared libraries anywhere below ``folder``.

    Raises:
        InvalidModelError: names the file and what is wrong with it.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in _LIBRARY_SUFFIXES or ".so." in path.name:
            raise InvalidModelError(f"{path} is a library; a model may not bring code")
        if path.suffix == ".onnx":
            _check_file(path)


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
