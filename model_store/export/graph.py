"""A small builder of ONNX graphs whose weights stream into an external data file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16
INT32, INT64 = TensorProto.INT32, TensorProto.INT64

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
MICROSOFT = "com.microsoft"
_OPSET = 23
_IR_VERSION = 10
_PAGE_BYTES = 4096
_SMALL_BYTES = 1024


def value_info(
    name: str, element_type: int, shape: Sequence[int | str] | None
) -> onnx.ValueInfoProto:
    """A typed graph input or output; a dimension given by name may vary."""
    return helper.make_tensor_value_info(name, element_type, shape)


class GraphWriter:
    """Collects nodes and weights, then writes ``model.onnx`` and ``model.onnx.data``.

    A context manager: the data file is open inside the block. Every method that adds a node
    returns the name of its first output. The same calls give the same bytes. ``float_type`` is
    what float weights are stored as.
    """

    def __init__(self, folder: Path, *, float_type: int = FLOAT) -> None:
        self.float_type = float_type
        self._float_dtype = helper.tensor_dtype_to_np_dtype(float_type)
        self._folder = folder
        self._data = (folder / DATA_FILE).open("wb")
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def __enter__(self) -> "GraphWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()

    def input(self, name: str, element_type: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input."""
        self._inputs.append(value_info(name, element_type, shape))
        return name

    def output(self, name: str, element_type: int, shape: Sequence[int | str]) -> str:
        """Declare a graph output."""
        self._outputs.append(value_info(name, element_type, shape))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: str | Sequence[str],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add one operator; an empty name leaves out an optional input or output."""
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self._nodes.append(
            helper.make_node(
                operator, list(inputs), names, name=names[0], domain=domain, **attributes
            )
        )
        return names[0]

    def constant(self, value: int | Sequence[int]) -> str:
        """An int64 constant; equal values share one."""
        text = str(value) if isinstance(value, int) else "x".join(map(str, value)) + "_list"
        name = "const_" + text.replace("-", "m")
        if name not in self._initializers:
            array = np.array(value, dtype=np.int64)
            self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def weight(self, name: str, value: Array) -> str:
        """Add a weight; a large one goes to the data file at a page boundary (it is mapped)."""
        if value.dtype == np.float32:
            value = value.astype(self._float_dtype, copy=False)
        value = np.ascontiguousarray(value)
        if value.nbytes < _SMALL_BYTES:
            self._initializers[name] = numpy_helper.from_array(value, name)
            return name
        self._data.write(b"\0" * (-self._data.tell() % _PAGE_BYTES))
        tensor = TensorProto(
            name=name,
            dims=value.shape,
            data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": DATA_FILE, "offset": self._data.tell(), "length": value.nbytes}
        for key, entry in place.items():
            tensor.external_data.add(key=key, value=str(entry))
        self._data.write(value.data.cast("B"))
        self._initializers[name] = tensor
        return name

    def view(self, name: str, of: str, shape: Sequence[int]) -> str:
        """The large weight ``of`` under another shape, without a second copy of its bytes."""
        tensor = TensorProto()
        tensor.CopyFrom(self._initializers[of])
        tensor.name = name
        tensor.ClearField("dims")
        tensor.dims.extend(shape)
        self._initializers[name] = tensor
        return name

    def save(self, metadata: Mapping[str, str]) -> None:
        """Write the graph; call it last, inside the block."""
        self._data.flush()
        graph = helper.make_graph(
            self._nodes, "model", self._inputs, self._outputs, list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        model.producer_name = "millrace"
        helper.set_model_props(model, dict(metadata))
        (self._folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
        if self._data.tell() == 0:
            (self._folder / DATA_FILE).unlink()
