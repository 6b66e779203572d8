"""Writes the tiny models in the formats that imports read."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quantize

from model_store.export.bert import Bert
from model_store.export.genai_config import hugging_face_config
from model_store.export.llama import LAYER_WEIGHTS, Llama
from model_store.export.weights import Float32
from model_store.tokenizer import TOKENIZER_FILE

GGUF_NAMES = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "attention_norm": "attn_norm",
    "mlp_norm": "ffn_norm",
    "o": "attn_output",
    **{part: f"attn_{part}" for part in "qkv"},
    **{part: f"ffn_{part}" for part in ("gate", "up", "down")},
}
HUGGING_FACE_NAMES = {
    "embedding": "model.embed_tokens",
    "final_norm": "model.norm",
    "output": "lm_head",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    **{part: f"self_attn.{part}_proj" for part in "qkvo"},
    **{part: f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}


def llama_weights(llama: Llama) -> dict[str, Float32]:
    """Every weight of a llama under this project's names."""
    names = ["embedding", "final_norm", *([] if llama.config.tied else ["output"])]
    names += [f"{n}.{part}" for n in range(llama.config.layers) for part in LAYER_WEIGHTS]
    return {name: llama.weights.read(name) for name in names}


def write_gguf(
    llama: Llama,
    tokenizer_folder: Path,
    path: Path,
    *,
    architecture: str = "llama",
    kinds: Mapping[str, GGMLQuantizationType] = {"down": GGMLQuantizationType.F16},
) -> None:
    """Write a llama as GGUF, q and k with interleaved rows; F32 where ``kinds`` is silent."""
    config = llama.config
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.hidden)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_epsilon)
    writer.add_rope_freq_base(config.rope_base)
    _add_tokenizer(writer, llama, tokenizer_folder)
    if config.rope_factors:
        writer.add_tensor("rope_freqs.weight", np.array(config.rope_factors, np.float32))
    heads = {"q": config.heads, "k": config.kv_heads}
    for name, value in llama_weights(llama).items():
        layer, _, part = name.rpartition(".")
        stored = _interleave(value, heads[part]) if part in heads else value
        tensor = f"blk.{layer}.{GGUF_NAMES[part]}" if layer else GGUF_NAMES.get(part, part)
        kind = kinds.get(part, GGMLQuantizationType.F32)
        writer.add_tensor(f"{tensor}.weight", quantize(stored, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_llama_source(llama: Llama, tokenizer_folder: Path, folder: Path) -> None:
    """Write a llama as a Hugging Face folder: float32, split into two files by an index."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in llama_weights(llama).items():
        layer, _, part = name.rpartition(".")
        prefix = f"model.layers.{layer}." if layer else ""
        tensors[f"{prefix}{HUGGING_FACE_NAMES[part]}.weight"] = value
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: files[index % 2] for index, name in enumerate(tensors)}
    for file in files:
        part_of = {name: value for name, value in tensors.items() if places[name] == file}
        write_safetensors(folder / file, part_of)
    index = {"weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(hugging_face_config(llama.config)))
    copy_tokenizer(tokenizer_folder, folder)


def bert_weights(bert: Bert) -> dict[str, Float32]:
    """Every weight of an encoder."""
    parts = ["attention.self.query", "attention.self.key", "attention.self.value"]
    parts += ["attention.output.dense", "attention.output.LayerNorm"]
    parts += ["intermediate.dense", "output.dense", "output.LayerNorm"]
    layers = [f"encoder.layer.{n}.{part}" for n in range(bert.config.layers) for part in parts]
    names = [f"{part}.{kind}" for part in layers for kind in ("weight", "bias")]
    kinds = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    names += [f"embeddings.{kind}.weight" for kind in kinds]
    names += [f"embeddings.LayerNorm.{kind}" for kind in ("weight", "bias")]
    return {name: bert.weights.read(name) for name in names}


def write_bert_source(bert: Bert, tokenizer_folder: Path, folder: Path) -> None:
    """Write an encoder as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"bert.{name}": value for name, value in bert_weights(bert).items()}
    write_safetensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["BertModel"],
        "num_hidden_layers": bert.config.layers,
        "hidden_size": bert.config.hidden,
        "num_attention_heads": bert.config.heads,
        "intermediate_size": bert.config.feed_forward,
        "vocab_size": bert.config.vocabulary,
        "max_position_embeddings": bert.config.context_length,
        "layer_norm_eps": bert.config.norm_epsilon,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config))
    copy_tokenizer(tokenizer_folder, folder)


def write_safetensors(path: Path, tensors: dict[str, Float32]) -> None:
    """Write float32 tensors in the safetensors format."""
    header, offset = {}, 0
    for name, value in tensors.items():
        end = offset + value.nbytes
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps({"__metadata__": {"format": "np"}, **header}).encode()
    body = b"".join(np.ascontiguousarray(value).tobytes() for value in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the files of a tokenizer."""
    for path in source.glob("*token*.json"):
        (folder / path.name).write_bytes(path.read_bytes())


def _interleave(rows: Float32, heads: int) -> Float32:
    """GGUF's order of the rows of q and k: the two halves of a head take turns."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _add_tokenizer(writer: "gguf.GGUFWriter", llama: Llama, folder: Path) -> None:
    record = json.loads((folder / TOKENIZER_FILE).read_text())
    special = {each["content"] for each in record["added_tokens"]}
    tokens = sorted(record["model"]["vocab"], key=record["model"]["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in record["model"]["merges"]])
    writer.add_eos_token_id(llama.config.eos_token_ids[0])
    writer.add_chat_template(
        json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    )
