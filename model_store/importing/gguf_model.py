"""Reads a llama out of a GGUF file: numbers and weights."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize

from contract.errors import ModelImportError
from model_store.export.llama import Llama, LlamaConfig
from model_store.export.weights import Float32

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
_ARCHITECTURE = "llama"
_FACTORS = "rope_freqs.weight"


class GgufFile:
    """An open GGUF file (memory mapped).

    Raises:
        ModelImportError: the file is not GGUF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, OSError, IndexError, KeyError) as error:
            raise ModelImportError(f"{path} is not a GGUF file: {error}") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def field(self, name: str, default: Any = None) -> Any:
        """A metadata value, or ``default`` when it is absent."""
        found = self._reader.fields.get(name)
        return default if found is None else found.contents()

    def require(self, name: str) -> Any:
        """A metadata value that must be there."""
        value = self.field(name)
        if value is None:
            raise ModelImportError(f"{self.path} has no {name!r}")
        return value

    def has_tensor(self, name: str) -> bool:
        """Whether the file holds the tensor."""
        return name in self._tensors

    def rows(self, name: str) -> int:
        """How many rows a matrix has. Raises ModelImportError."""
        if name not in self._tensors:
            raise ModelImportError(f"{self.path} has no tensor {name!r}")
        return int(self._tensors[name].shape[1])  # GGUF counts the columns first

    def tensor(self, name: str) -> Float32:
        """A tensor as float32, whatever its storage. Raises ModelImportError."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelImportError(f"{self.path} has no tensor {name!r}")
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise ModelImportError(f"{self.path}: {name!r} is stored as {kind}: {error}") from error
        return np.asarray(values, dtype=np.float32)


class GgufWeights:
    """The weights of a llama in a GGUF file, under this package's names."""

    def __init__(self, file: GgufFile, config: LlamaConfig) -> None:
        self._file = file
        self._heads = {"q": config.heads, "k": config.kv_heads}

    def read(self, name: str) -> Float32:
        """The tensor as float32; rows of q and k are put back in rotate-half order."""
        if name in _NAMES:
            return self._file.tensor(_NAMES[name])
        layer, _, part = name.partition(".")
        values = self._file.tensor(f"blk.{layer}.{_LAYER_NAMES[part]}.weight")
        return _without_interleaving(values, self._heads[part]) if part in self._heads else values


def read_gguf(file: GgufFile) -> Llama:
    """The llama in a GGUF file.

    Raises:
        ModelImportError: another architecture, or a variant that is not written exactly.
    """
    architecture = file.require("general.architecture")
    if architecture != _ARCHITECTURE:
        raise ModelImportError(
            f"{file.path} holds a {architecture!r} model; only the llama family can be imported"
        )
    for tensor in ("blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"):
        if file.has_tensor(tensor):
            raise ModelImportError(
                f"{file.path} has {tensor!r}; biases and experts cannot be written"
            )
    scaling = file.field("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise ModelImportError(f"{file.path}: rope scaling {scaling!r} is not supported")
    config = _read_config(file)
    return Llama(config=config, weights=GgufWeights(file, config))


def _read_config(file: GgufFile) -> LlamaConfig:
    heads, hidden = (
        file.require("llama.attention.head_count"),
        file.require("llama.embedding_length"),
    )
    head_size = file.field("llama.attention.key_length", hidden // heads)
    if file.field("llama.rope.dimension_count", head_size) != head_size:
        raise ModelImportError(f"{file.path}: rotating a part of each head is not supported")
    eos = file.require("tokenizer.ggml.eos_token_id")
    # Fine-tunes that end a turn with another token than a text name that token too.
    others = (file.field(f"tokenizer.ggml.{kind}_token_id") for kind in ("eot", "eom"))
    return LlamaConfig(
        layers=file.require("llama.block_count"),
        hidden=hidden,
        heads=heads,
        kv_heads=file.field("llama.attention.head_count_kv", heads),
        head_size=head_size,
        feed_forward=file.require("llama.feed_forward_length"),
        vocabulary=file.rows("token_embd.weight"),
        context_length=file.require("llama.context_length"),
        rms_epsilon=file.require("llama.attention.layer_norm_rms_epsilon"),
        rope_base=file.field("llama.rope.freq_base", 10000.0),
        tied=not file.has_tensor("output.weight"),
        bos_token_id=file.field("tokenizer.ggml.bos_token_id"),
        eos_token_ids=tuple(dict.fromkeys([eos, *(each for each in others if each is not None)])),
        pad_token_id=file.field("tokenizer.ggml.padding_token_id", eos),
        rope_factors=tuple(file.tensor(_FACTORS).tolist()) if file.has_tensor(_FACTORS) else (),
    )


def _without_interleaving(rows: Float32, heads: int) -> Float32:
    """Undo the row order that GGUF gives to q and k: pairs side by side become two halves."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)
