"""The configuration that onnxruntime-genai reads beside a model in the paged contract."""

from typing import Any

from model_store.export.graph import MODEL_FILE
from model_store.export.llama import LlamaConfig
from model_store.export.paged_attention_cuda import CUDA_BLOCK_SIZE
from model_store.export.paged_layout import BLOCK_SIZE

PAGED_INPUTS = (
    "input_ids",
    "block_table",
    "cumulative_sequence_lengths",
    "past_sequence_lengths",
    "attention_metadata",
    "logits_indices",
)
_DEFAULT_BLOCKS = 768
_CUDA_DEFAULT_BLOCKS = 256
_DEFAULT_BATCH = 32


def genai_config(config: LlamaConfig, *, on_cuda: bool) -> dict[str, Any]:
    """The record for ``genai_config.json``.

    ``engine.dynamic_batching`` holds the block size that the graph was written with; a worker
    overlays ``num_blocks`` and ``max_batch_size`` with what its memory and slots allow.
    """
    past = {f"past_{kind}_names": f"past_key_values.%d.{kind}" for kind in ("key", "value")}
    present = {f"present_{kind}_names": f"present.%d.{kind}" for kind in ("key", "value")}
    decoder = {
        "session_options": session_options(on_cuda=on_cuda),
        "filename": MODEL_FILE,
        "head_size": config.head_size,
        "hidden_size": config.hidden,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "inputs": {name: name for name in PAGED_INPUTS} | past,
        "outputs": {"logits": "logits"} | present,
        "state_groups": [{"kind": "paged_kv", "layer_ids": list(range(config.layers))}],
    }
    eos = list(config.eos_token_ids)
    model = {
        "type": "llama",
        "bos_token_id": config.eos_token_ids[0]
        if config.bos_token_id is None
        else config.bos_token_id,
        "eos_token_id": eos[0] if len(eos) == 1 else eos,
        "pad_token_id": config.pad_token_id,
        "vocab_size": config.vocabulary,
        "context_length": config.context_length,
        "decoder": decoder,
    }
    return {
        "model": model,
        "search": {"max_length": config.context_length, "do_sample": False},
        "engine": {"dynamic_batching": batching_config(on_cuda=on_cuda)},
    }


def session_options(*, on_cuda: bool) -> dict[str, Any]:
    """The least that a session needs to be told; threads and devices are a worker's to choose."""
    return {"log_id": "millrace", "provider_options": [{"cuda": {}}] if on_cuda else []}


def batching_config(*, on_cuda: bool) -> dict[str, int]:
    """The shape of the cache: the block size is the graph's, the rest is a worker's to change."""
    return {
        "block_size": CUDA_BLOCK_SIZE if on_cuda else BLOCK_SIZE,
        "num_blocks": _CUDA_DEFAULT_BLOCKS if on_cuda else _DEFAULT_BLOCKS,
        "max_batch_size": _DEFAULT_BATCH,
    }


def hugging_face_config(config: LlamaConfig) -> dict[str, Any]:
    """The same numbers in Hugging Face's words, for ``config.json``."""
    scaled = {"rope_factors": list(config.rope_factors)} if config.rope_factors else {}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": config.layers,
        "hidden_size": config.hidden,
        "intermediate_size": config.feed_forward,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_epsilon,
        "rope_theta": config.rope_base,
        **scaled,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "pad_token_id": config.pad_token_id,
    }
