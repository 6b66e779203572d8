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


class GraphBuilder:
    """Collects nodes, inputs, outputs and small constants.

    Every method that adds a node returns the name of its first output. ``float_type`` is what
    the floats in the graph are.
    """

    def __init__(self, *, float_type: int = FLOAT) -> None:
        self.float_type = float_type
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, element_type: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input."""
        self.inputs.append(value_info(name, element_type, shape))
        return name

    def output(self, name: str, element_type: int, shape: Sequence[int | str]) -> str:
        """Declare a graph output."""
        self.outputs.append(value_info(name, element_type, shape))
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
        self.nodes.append(
            helper.make_node(
                operator, list(inputs), names, name=names[0], domain=domain, **attributes
            )
        )
        return names[0]

    def constant(self, value: int | Sequence[int]) -> str:
        """An int64 constant; equal values share one."""
        text = str(value) if isinstance(value, int) else "x".join(map(str, value)) + "_list"
        name = "const_" + text.replace("-", "m")
        if name not in self.initializers:
            array = np.array(value, dtype=np.int64)
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def array(self, name: str, value: Array) -> str:
        """A small constant that is kept in the graph itself."""
        self.initializers[name] = numpy_helper.from_array(value, name)
        return name


class GraphWriter(GraphBuilder):
    """Writes ``model.onnx`` and ``model.onnx.data``; the same calls give the same bytes.

    A context manager: the data file is open inside the block.
    """

    def __init__(self, folder: Path, *, float_type: int = FLOAT) -> None:
        super().__init__(float_type=float_type)
        self._float_dtype = helper.tensor_dtype_to_np_dtype(float_type)
        self._folder = folder
        self._data = (folder / DATA_FILE).open("wb")

    def __enter__(self) -> "GraphWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()

    def weight(self, name: str, value: Array) -> str:
        """Add a weight; a large one goes to the data file at a page boundary (it is mapped)."""
        if value.dtype == np.float32:
            value = value.astype(self._float_dtype, copy=False)
        value = np.ascontiguousarray(value)
        if value.nbytes < _SMALL_BYTES:
            self.initializers[name] = numpy_helper.from_array(value, name)
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
        self.initializers[name] = tensor
        return name

    def view(self, name: str, of: str, shape: Sequence[int]) -> str:
        """The large weight ``of`` under another shape, without a second copy of its bytes."""
        tensor = TensorProto()
        tensor.CopyFrom(self.initializers[of])
        tensor.name = name
        tensor.ClearField("dims")
        tensor.dims.extend(shape)
        self.initializers[name] = tensor
        return name

    def save(self, metadata: Mapping[str, str]) -> None:
        """Write the graph; call it last, inside the block."""
        self._data.flush()
        graph = helper.make_graph(
            self.nodes, "model", self.inputs, self.outputs, list(self.initializers.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        model.producer_name = "millrace"
        helper.set_model_props(model, dict(metadata))
        (self._folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
        if self._data.tell() == 0:
            (self._folder / DATA_FILE).unlink()
