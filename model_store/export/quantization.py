"""How a graph holds a matrix: as float32, or in blocks of 4 or 8 bits."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.export.graph import MICROSOFT, GraphWriter
from model_store.export.weights import Float32, FourBitBlocks

BLOCK = 32
"""Weights that share one scale."""

_FLOAT_ACTIVATIONS, _INT8_ACTIVATIONS = 1, 4


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


def write_int8(graph: GraphWriter, x: str, name: str, matrix: Float32, output: str) -> str:
    """The fast form: 8-bit blocks times activations rounded to 8 bits (MatMulNBits)."""
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
