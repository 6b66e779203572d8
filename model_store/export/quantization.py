"""How a graph holds a matrix: as float32, in blocks of 4 or 8 bits, or in rows of 8 bits."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from model_store.export.graph import MICROSOFT, GraphWriter
from model_store.export.weights import EightBitRows, Float32, FourBitBlocks

BLOCK = 32
"""Weights that share one scale."""

ZERO = 128
"""What stands for 0 in unsigned 8-bit activations."""

_FLOAT_ACTIVATIONS, _INT8_ACTIVATIONS = 1, 4
_STEP = np.array(1 / 127, np.float32)


class Linear(Protocol):
    """Writes ``x @ matrix.T`` with the matrix ``[out, in]`` in some form."""

    def __call__(
        self, graph: GraphWriter, x: str, name: str, matrix: Float32, output: str
    ) -> str: ...


def write_float(graph: GraphWriter, x: str, name: str, matrix: Float32, output: str) -> str:
    """The exact form. The matrix stays as it is, which lets an embedding share it."""
    return graph.node("Gemm", [x, graph.weight(name, matrix)], output, transB=1)


def write_packed(graph: GraphWriter, x: str, name: str, matrix: FourBitBlocks, output: str) -> str:
    """The exact form of what its source holds in 4 bits, without making it larger.

    The kernel (MatMulNBits) unpacks the blocks as it multiplies them with floats, and knows no
    offsets: those are multiplied with the sum of each block of ``x``.
    """
    rows, blocks, _ = matrix.codes.shape
    has_offsets = bool(matrix.offsets.any())
    codes = matrix.codes[..., 0::2] | matrix.codes[..., 1::2] << 4
    product = graph.node(
        "MatMulNBits",
        [x, graph.weight(f"{name}.q", codes), graph.weight(f"{name}.scale", matrix.scales)],
        f"{name}.product" if has_offsets else output,
        domain=MICROSOFT,
        K=blocks * BLOCK,
        N=rows,
        bits=4,
        block_size=BLOCK,
        accuracy_level=_FLOAT_ACTIVATIONS,
    )
    if not has_offsets:
        return product
    parts = graph.node("Reshape", [x, graph.constant([-1, blocks, BLOCK])], f"{name}.parts")
    sums = graph.node("ReduceSum", [parts, graph.constant([-1])], f"{name}.sums", keepdims=0)
    offsets = graph.weight(f"{name}.offset", matrix.offsets)
    return graph.node("Gemm", [sums, offsets, product], output, transB=1)


def write_rows(
    graph: GraphWriter, x: str, name: str, matrix: EightBitRows, output: str, zeros: str
) -> str:
    """The fastest form: rows of 8-bit weights times activations rounded to 8 bits, row by row.

    Each row of ``x`` is rounded by its own largest value, so that no request's answer depends on
    the others in its batch. ``zeros`` holds 128 for each row of ``x``: the processor multiplies
    unsigned with signed bytes.
    """
    if matrix.turn is not None:
        x = _turned(graph, x, name, matrix.turn, matrix.codes.shape[1])
    sizes = graph.node("Abs", [x], f"{name}.sizes")
    peaks = graph.node("ReduceMax", [sizes, graph.constant([-1])], f"{name}.peaks", keepdims=1)
    # A row of zeros has a step of zero: whatever its codes are then, its product is zero.
    steps = graph.node("Mul", [peaks, graph.array("int8_step", _STEP)], f"{name}.steps")
    flat = graph.node("Reshape", [steps, graph.constant([-1])], f"{name}.flat_steps")
    codes = graph.node("QuantizeLinear", [x, flat, zeros], f"{name}.codes", axis=0)
    product = graph.node(
        "MatMulIntegerToFloat",
        [
            codes,
            graph.weight(f"{name}.q", matrix.codes.T),
            graph.array("int8_one", np.array(1, np.float32)),
            graph.weight(f"{name}.scale", matrix.scales),
            graph.array("int8_zero", np.array(ZERO, np.uint8)),
        ],
        f"{name}.product",
        domain=MICROSOFT,
    )
    return graph.node("Mul", [product, steps], output)


def _turned(graph: GraphWriter, x: str, name: str, turn: Float32, channels: int) -> str:
    parts = graph.node("Reshape", [x, graph.constant([-1, len(turn)])], f"{name}.parts")
    rotation = f"turn_{len(turn)}"
    if rotation not in graph.initializers:
        graph.weight(rotation, turn)
    turned = graph.node("MatMul", [parts, rotation], f"{name}.turned_parts")
    return graph.node("Reshape", [turned, graph.constant([-1, channels])], f"{name}.turned")


def write_zeros(graph: GraphWriter, per: str, name: str) -> str:
    """128 for each element of the vector ``per``; see :func:`write_rows`."""
    value = numpy_helper.from_array(np.array([ZERO], np.uint8))
    shape = graph.node("Shape", [per], f"{name}.shape")
    return graph.node("ConstantOfShape", [shape], name, value=value)


def write_int8(graph: GraphWriter, x: str, name: str, matrix: Float32, output: str) -> str:
    """8-bit blocks times activations rounded to 8 bits (MatMulNBits), where rows do not fit."""
    blocks, scales = quantize_blocks(matrix)
    inputs = [x, graph.weight(f"{name}.q", blocks), graph.weight(f"{name}.scale", scales)]
    return multiply_int8(graph, inputs, output, (matrix.shape[0], matrix.shape[1]))


def multiply_int8(
    graph: GraphWriter, inputs: list[str], output: str, shape: tuple[int, int]
) -> str:
    """``inputs`` are x, blocks and scales of a matrix of ``shape`` ``[out, in]``."""
    return graph.node(
        "MatMulNBits",
        inputs,
        output,
        domain=MICROSOFT,
        K=shape[1],
        N=shape[0],
        bits=8,
        block_size=BLOCK,
        accuracy_level=_INT8_ACTIVATIONS,
    )


def quantize_blocks(matrix: Float32) -> tuple[NDArray[np.uint8], Float32]:
    """Round to nearest in blocks along the rows, symmetric about 128.

    ``matrix`` ``[out, in]`` with ``in`` a multiple of 32 gives blocks ``[out, in / 32, 32]`` and
    scales ``[out, in / 32]``; a weight is ``(block - 128) * scale``. Weights that came from
    8-bit blocks of 32 (Q8_0) come back without loss.
    """
    rows, columns = matrix.shape
    blocks = matrix.reshape(rows, columns // BLOCK, BLOCK)
    scales = (np.abs(blocks).max(axis=-1) / 127).astype(np.float32)
    divisors = np.where(scales == 0, np.float32(1), scales)[..., None]
    return (np.rint(blocks / divisors) + 128).astype(np.uint8), scales
