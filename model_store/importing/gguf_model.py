"""Reads a llama out of a GGUF file: numbers and weights."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ModelImportError
from model_store.export.llama import Llama, LlamaConfig
from model_store.export.weights import Float32, FourBitBlocks, Weights, require_shape
from model_store.importing.gguf_file import GgufFile

_NAMES = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "output": "output.weight",
}
_LAYER_NAMES = {
    "attention_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
Element = TypeVar("Element", bound=np.generic)
_ARCHITECTURE = "llama"
_FACTORS = "rope_freqs.weight"


class GgufWeights(Weights):
    """The weights of a llama in a GGUF file, under this package's names."""

    def __init__(self, file: GgufFile, config: LlamaConfig) -> None:
        self._file = file
        self._config = config
        self._heads = {"q": config.heads, "k": config.kv_heads}

    def read(self, name: str) -> Float32:
        """The tensor as float32; rows of q and k are put back in rotate-half order.

        Raises:
            ModelImportError: it is absent, or has not the shape that the numbers ask for.
        """
        values = require_shape(name, self._file.tensor(_stored(name)), self._config.shape(name))
        return self._in_order(name, values)

    def blocks(self, name: str) -> FourBitBlocks | None:
        """The matrix as it is stored, in the same order. Raises ModelImportError."""
        found = self._file.blocks(_stored(name))
        if found is None:
            return None
        return FourBitBlocks(
            codes=self._in_order(name, found.codes),
            scales=self._in_order(name, found.scales),
            offsets=self._in_order(name, found.offsets),
        )

    def _in_order(self, name: str, rows: NDArray[Element]) -> NDArray[Element]:
        part = name.rpartition(".")[2]
        return _without_interleaving(rows, self._heads[part]) if part in self._heads else rows


def _stored(name: str) -> str:
    """What GGUF calls it."""
    layer, _, part = name.rpartition(".")
    return f"blk.{layer}.{_LAYER_NAMES[part]}.weight" if layer else _NAMES[part]


def read_gguf(file: GgufFile) -> Llama:
    """The llama in a GGUF file.

    Raises:
        ModelImportError: another architecture, or a variant that is not written exactly.
    """
    architecture = file.require("general.architecture", str)
    if architecture != _ARCHITECTURE:
        raise ModelImportError(
            f"{file.path} holds a {architecture!r} model; only the llama family can be imported"
        )
    for tensor in ("blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"):
        if file.has_tensor(tensor):
            raise ModelImportError(
                f"{file.path} has {tensor!r}; biases and experts cannot be written"
            )
    scaling = file.field("llama.rope.scaling.type", str, "none")
    if scaling != "none":
        raise ModelImportError(f"{file.path}: rope scaling {scaling!r} is not supported")
    config = _read_config(file)
    return Llama(config=config, weights=GgufWeights(file, config))


def _read_config(file: GgufFile) -> LlamaConfig:
    heads = file.require("llama.attention.head_count", int)
    hidden = file.require("llama.embedding_length", int)
    head_size = file.field("llama.attention.key_length", int, hidden // max(heads, 1))
    if file.field("llama.rope.dimension_count", int, head_size) != head_size:
        raise ModelImportError(f"{file.path}: rotating a part of each head is not supported")
    eos = file.require("tokenizer.ggml.eos_token_id", int)
    # Fine-tunes that end a turn with another token than a text name that token too.
    others = (file.optional(f"tokenizer.ggml.{kind}_token_id", int) for kind in ("eot", "eom"))
    return LlamaConfig(
        layers=file.require("llama.block_count", int),
        hidden=hidden,
        heads=heads,
        kv_heads=file.field("llama.attention.head_count_kv", int, heads),
        head_size=head_size,
        feed_forward=file.require("llama.feed_forward_length", int),
        vocabulary=file.rows("token_embd.weight"),
        context_length=file.require("llama.context_length", int),
        rms_epsilon=file.require("llama.attention.layer_norm_rms_epsilon", float),
        rope_base=file.field("llama.rope.freq_base", float, 10000.0),
        tied=not file.has_tensor("output.weight"),
        bos_token_id=file.optional("tokenizer.ggml.bos_token_id", int),
        eos_token_ids=tuple(dict.fromkeys([eos, *(each for each in others if each is not None)])),
        pad_token_id=file.field("tokenizer.ggml.padding_token_id", int, eos),
        rope_factors=tuple(file.tensor(_FACTORS).tolist()) if file.has_tensor(_FACTORS) else (),
    )


def _without_interleaving(rows: NDArray[Element], heads: int) -> NDArray[Element]:
    """Undo the row order that GGUF gives to q and k: pairs side by side become two halves."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)
