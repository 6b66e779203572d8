"""Reads llamas and BERTs out of Hugging Face folders: configuration and safetensors."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import ModelImportError
from model_store.export.bert import Bert, BertConfig
from model_store.export.configurations import CONFIG_FILE
from model_store.export.llama import Llama, LlamaConfig
from model_store.export.numbers import require_positive, require_whole
from model_store.export.weights import Float32, Weights, require_shape
from model_store.importing.safetensors_file import SafetensorsFiles
from model_store.json_file import read_object
from model_store.tokenizer import CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_LLAMA_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "output": "lm_head.weight",
}
_LLAMA_LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


class LlamaFolderWeights(Weights):
    """A llama's weights under this package's names; the layout is the same."""

    def __init__(self, files: SafetensorsFiles, config: LlamaConfig) -> None:
        self._files = files
        self._config = config

    def read(self, name: str) -> Float32:
        """The tensor as float32. Raises ModelImportError."""
        layer, _, part = name.rpartition(".")
        inner = f"model.layers.{layer}.{_LLAMA_LAYER_NAMES[part]}.weight" if layer else ""
        values = self._files.tensor(inner or _LLAMA_NAMES[part])
        return require_shape(name, values, self._config.shape(name))


class BertFolderWeights(Weights):
    """A BERT's weights; some folders prefix the names with ``bert.``."""

    def __init__(self, files: SafetensorsFiles, config: BertConfig) -> None:
        self._files = files
        self._config = config

    def read(self, name: str) -> Float32:
        """The tensor as float32. Raises ModelImportError."""
        values = self._files.tensor(name if name in self._files else f"bert.{name}")
        return require_shape(name, values, self._config.shape(name))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of the folder. Raises ModelImportError."""
    return read_object(folder / CONFIG_FILE, ModelImportError)


def refuse_llama_reasons(config: Mapping[str, Any]) -> list[str]:
    """Why this package cannot write the model exactly by itself; empty when it can."""
    kind = _rotary(config).get("rope_type", "default")
    reasons = {
        f"architecture {config.get('architectures')}": config.get("architectures")
        != ["LlamaForCausalLM"],
        f"rope scaling {kind!r}": kind not in ("default", "llama3"),
        "biases": bool(config.get("attention_bias") or config.get("mlp_bias")),
        f"activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        "quantized weights": "quantization_config" in config,
    }
    return [reason for reason, applies in reasons.items() if applies]


def read_llama_folder(folder: Path) -> Llama:
    """The llama in a Hugging Face folder. Raises ModelImportError."""
    record = read_config(folder)
    if reasons := refuse_llama_reasons(record):
        raise ModelImportError(f"{folder} cannot be written exactly: {', '.join(reasons)}")
    files = SafetensorsFiles.in_folder(folder)
    try:
        config = _llama_config(folder, record, tied="lm_head.weight" not in files)
    except KeyError as error:
        raise ModelImportError(f"{folder / CONFIG_FILE} has no {error}") from error
    return Llama(config=config, weights=LlamaFolderWeights(files, config))


def read_bert_folder(folder: Path) -> Bert:
    """The sentence encoder in a Hugging Face folder. Raises ModelImportError."""
    record = read_config(folder)
    if record.get("hidden_act", "gelu") != "gelu":
        raise ModelImportError(f"{folder}: activation {record['hidden_act']!r} is not supported")
    if record.get("position_embedding_type", "absolute") != "absolute":
        raise ModelImportError(f"{folder}: only absolute positions are supported")
    _refuse_other_pooling(folder)
    try:
        config = BertConfig(
            layers=record["num_hidden_layers"],
            hidden=record["hidden_size"],
            heads=record["num_attention_heads"],
            feed_forward=record["intermediate_size"],
            vocabulary=record["vocab_size"],
            context_length=record["max_position_embeddings"],
            norm_epsilon=record["layer_norm_eps"],
            token_types=record.get("type_vocab_size", 2),
        )
    except KeyError as error:
        raise ModelImportError(f"{folder / CONFIG_FILE} has no {error}") from error
    files = SafetensorsFiles.in_folder(folder)
    return Bert(config=config, weights=BertFolderWeights(files, config))


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files. Raises ModelImportError when there is no tokenizer.json."""
    if not (source / TOKENIZER_FILE).is_file():
        raise ModelImportError(f"{source} has no {TOKENIZER_FILE}")
    for name in (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, CHAT_TEMPLATE_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _llama_config(folder: Path, record: Mapping[str, Any], *, tied: bool) -> LlamaConfig:
    generation = folder / "generation_config.json"
    ends = read_object(generation, ModelImportError) if generation.is_file() else {}
    eos = ends.get("eos_token_id", record.get("eos_token_id"))
    if eos is None:
        raise ModelImportError(f"{folder / CONFIG_FILE} names no eos_token_id")
    eos_ids = tuple(eos) if isinstance(eos, list) else (eos,)
    heads, pad = record["num_attention_heads"], record.get("pad_token_id")
    require_whole("num_attention_heads", heads, least=1, most=1 << 12)
    require_whole("hidden_size", record["hidden_size"], least=1, most=1 << 17)
    size = record.get("head_dim") or record["hidden_size"] // heads
    require_whole("head_dim", size, least=1, most=1 << 10)
    rotary = _rotary(record)
    base = rotary.get("rope_theta", record.get("rope_theta", 10000.0))
    require_positive("rope_theta", base)
    return LlamaConfig(
        layers=record["num_hidden_layers"],
        hidden=record["hidden_size"],
        heads=heads,
        kv_heads=record.get("num_key_value_heads") or heads,
        head_size=size,
        feed_forward=record["intermediate_size"],
        vocabulary=record["vocab_size"],
        context_length=record["max_position_embeddings"],
        rms_epsilon=record["rms_norm_eps"],
        rope_base=base,
        tied=tied,
        bos_token_id=record.get("bos_token_id"),
        eos_token_ids=eos_ids,
        pad_token_id=eos_ids[0] if pad is None else pad,
        rope_factors=_llama3_factors(rotary, base, size) if "factor" in rotary else (),
    )


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says of rotations, in the words of new and of old files."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise ModelImportError("what the configuration says of rotations is not a JSON object")
    return {"rope_type": found.get("type", "default"), **found}


def _llama3_factors(rotary: Mapping[str, Any], base: float, size: int) -> tuple[float, ...]:
    """How much slower each pair rotates: long waves by ``factor``, short ones not at all.

    The scheme is that of Llama 3.1, as its configuration describes it.
    """
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    for name in names:
        require_positive(name, rotary[name])
    factor, low, high, trained = (float(rotary[name]) for name in names)
    if low >= high:
        raise ModelImportError(f"low_freq_factor {low} is not below high_freq_factor {high}")
    waves = 2 * np.pi * base ** (np.arange(0, size, 2, dtype=np.float64) / size)
    turns = trained / waves
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return tuple((1 / ((1 - kept) / factor + kept)).tolist())


def _refuse_other_pooling(folder: Path) -> None:
    path = folder / "1_Pooling" / CONFIG_FILE
    if not path.is_file():
        return
    modes = read_object(path, ModelImportError)
    used = [mode for mode, on in modes.items() if mode.startswith("pooling_mode_") and on is True]
    if used != ["pooling_mode_mean_tokens"]:
        raise ModelImportError(f"{path}: only mean pooling is supported, not {used}")
