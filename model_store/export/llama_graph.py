"""Writes a llama as an ONNX graph in the paged contract (CPU form)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from contract.errors import ModelImportError
from model_store.export.graph import FLOAT, FLOAT16, MICROSOFT, GraphWriter
from model_store.export.llama import Llama
from model_store.export.paged_attention import (
    HeadLayout,
    write_attention_layout,
    write_paged_attention,
)
from model_store.export.paged_attention_cuda import write_cuda_attention
from model_store.export.paged_layout import declare_paged_inputs
from model_store.export.quantization import (
    BLOCK,
    Linear,
    multiply_int8,
    quantize_blocks,
    write_float,
    write_int8,
    write_packed,
    write_rows,
    write_zeros,
)
from model_store.export.weights import EightBitRows, Float32, FourBitBlocks

EXACT = "fp32"
PACKED = "packed"
INT8 = "int8"
CUDA_FORM = "fp16"
Held = TypeVar("Held")
_TOKEN_ZEROS, _LOGITS_ZEROS = "token_zeros", "logits_zeros"
FORMS = {"cpu": (EXACT, PACKED, INT8), "cuda": (CUDA_FORM,)}
"""The forms in which a llama can be written, by the device that they run on."""


def write_llama_graph(llama: Llama, folder: Path, *, form: str = EXACT) -> None:
    """Write ``model.onnx`` and ``model.onnx.data`` into ``folder``.

    ``fp32`` computes exactly what the weights say, and so does ``packed``, which keeps in 4 bits
    what comes in 4. ``int8`` holds a matrix in rows of 8 bits where the weights come so, else in
    8-bit blocks, except the projections to queries, keys and values: rounding those costs the
    most quality for the least time. ``fp16`` is for CUDA.

    Raises:
        ModelImportError: the form is unknown, or the sizes do not fit it.
    """
    config = llama.config
    known = [each for forms in FORMS.values() for each in forms]
    if form not in known:
        raise ModelImportError(f"a llama cannot be written as {form!r}; forms: {', '.join(known)}")
    if form == INT8 and (config.hidden % BLOCK or config.feed_forward % BLOCK):
        raise ModelImportError(f"int8 needs hidden sizes that are multiples of {BLOCK}")
    if form == PACKED and llama.weights.blocks("0.gate") is None:
        raise ModelImportError(
            "packed keeps what its source holds in blocks of 4 bits (a GGUF file with Q4_0 or"
            " Q4_1), and this one holds none; use fp32"
        )
    float_type = FLOAT16 if form == CUDA_FORM else FLOAT
    with GraphWriter(folder, float_type=float_type) as graph:
        _LlamaWriter(llama, graph, form).write()
        graph.save({"architecture": "llama", "form": form})


class _LlamaWriter:
    """Carries the graph through the layers; ``residual`` is the stream that they add to."""

    def __init__(self, llama: Llama, graph: GraphWriter, form: str) -> None:
        self.config = llama.config
        self.weights = llama.weights
        self.graph = graph
        self.packed = form == PACKED
        self.quantized = form == INT8
        self.on_cuda = form == CUDA_FORM
        self.linear: Linear = write_int8 if self.quantized else write_float
        self.residual = ""

    def write(self) -> None:
        config, graph = self.config, self.graph
        declare_paged_inputs(graph)
        graph.output("logits", graph.float_type, ["num_logits", config.vocabulary])
        if not self.on_cuda:
            write_attention_layout(graph, kv_heads=config.kv_heads, head_size=config.head_size)
        cos, sin = config.rotary_tables()
        graph.weight("rotary_cos", cos)
        graph.weight("rotary_sin", sin)
        if self.quantized:
            write_zeros(graph, "input_ids", _TOKEN_ZEROS)
            write_zeros(graph, "logits_indices", _LOGITS_ZEROS)
        self.residual = self._embed(self.weights.read("embedding"))
        x = graph.node(
            "SimplifiedLayerNormalization",
            [self.residual, graph.weight("0.attention_norm", self._read(0, "attention_norm"))],
            "normed_embedding",
            axis=-1,
            epsilon=config.rms_epsilon,
            stash_type=1,
        )
        for layer in range(config.layers):
            x = self._layer(layer, x)
        x = graph.node("Gather", [x, "logits_indices"], "wanted")
        self._logits(x)

    def _layer(self, layer: int, x: str) -> str:
        x = self._attention(layer, x)
        x = self._add_and_norm(f"{layer}.mlp_norm", x, self._read(layer, "mlp_norm"))
        x = self._mlp(layer, x)
        if layer + 1 < self.config.layers:
            following = self._read(layer + 1, "attention_norm")
            return self._add_and_norm(f"{layer + 1}.attention_norm", x, following)
        return self._add_and_norm("final_norm", x, self.weights.read("final_norm"), last=True)

    def _attention(self, layer: int, x: str) -> str:
        config, graph = self.config, self.graph
        joined = self._multiply(layer, x, "qkv", ("q", "k", "v"), write_float)
        heads = HeadLayout(
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_size=config.head_size,
            scale=config.attention_scale,
        )
        attend = write_cuda_attention if self.on_cuda else write_paged_attention
        attended = attend(graph, layer, joined, heads)
        return self._multiply(layer, attended, "o", ("o",), self.linear)

    def _mlp(self, layer: int, x: str) -> str:
        """down(silu(gate(x)) * up(x))."""
        graph = self.graph
        gate = self._multiply(layer, x, "gate", ("gate",), self.linear)
        up = self._multiply(layer, x, "up", ("up",), self.linear)
        graph.node("Sigmoid", [gate], f"{layer}.sigmoid")
        graph.node("Mul", [gate, f"{layer}.sigmoid"], f"{layer}.silu")
        x = graph.node("Mul", [f"{layer}.silu", up], f"{layer}.gated")
        return self._multiply(layer, x, "down", ("down",), self.linear)

    def _multiply(self, layer: int, x: str, name: str, parts: Sequence[str], linear: Linear) -> str:
        """``x`` times the matrices called ``parts``, joined under the name ``name``."""
        full, output = f"{layer}.{name}", f"{layer}.{name}_out"
        names = [f"{layer}.{part}" for part in parts]
        if self.packed and (blocks := _all(map(self.weights.blocks, names))):
            return write_packed(self.graph, x, full, FourBitBlocks.joined(blocks), output)
        if self.quantized and (rows := _all(map(self.weights.rows, names))):
            joined = EightBitRows.joined(rows)
            return write_rows(self.graph, x, full, joined, output, _TOKEN_ZEROS)
        matrix = np.concatenate([self._read(layer, part) for part in parts])
        return linear(self.graph, x, full, matrix, output)

    def _add_and_norm(self, name: str, x: str, norm: Float32, *, last: bool = False) -> str:
        """Add ``x`` to the residual stream and return the sum normalised."""
        outputs = [f"{name}_out"] if last else [f"{name}_out", "", "", f"{name}_residual"]
        self.graph.node(
            "SkipSimplifiedLayerNormalization",
            [self.residual, x, self.graph.weight(name, norm)],
            outputs,
            domain=MICROSOFT,
            epsilon=self.config.rms_epsilon,
        )
        self.residual = outputs[-1]
        return outputs[0]

    def _embed(self, embedding: Float32) -> str:
        graph = self.graph
        if not self.quantized:
            return graph.node(
                "Gather", [graph.weight("embedding", embedding), "input_ids"], "embedded"
            )
        blocks, scales = quantize_blocks(embedding)
        # Stored as the matrix that makes logits wants it, which a tied model shares.
        graph.weight("embedding.q", blocks)
        graph.weight("embedding.scale", scales)
        return graph.node(
            "GatherBlockQuantized",
            [
                graph.view("embedding.rows", "embedding.q", embedding.shape),
                "input_ids",
                "embedding.scale",
            ],
            "embedded",
            domain=MICROSOFT,
            bits=8,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )

    def _logits(self, x: str) -> None:
        graph, config = self.graph, self.config
        if self.quantized and (rows := self.weights.rows("output")):
            write_rows(graph, x, "output", rows, "logits", _LOGITS_ZEROS)
        elif not config.tied:
            self.linear(graph, x, "output", self.weights.read("output"), "logits")
        elif not self.quantized:
            graph.node("Gemm", [x, "embedding"], "logits", transB=1)
        else:
            inputs = [x, "embedding.q", "embedding.scale"]
            multiply_int8(graph, inputs, "logits", (config.vocabulary, config.hidden))

    def _read(self, layer: int, part: str) -> Float32:
        return self.weights.read(f"{layer}.{part}")


def _all(held: Iterable[Held | None]) -> list[Held]:
    """What a source holds of each, or nothing where it does not hold all."""
    each = list(held)
    found = [one for one in each if one is not None]
    return found if len(found) == len(each) else []
