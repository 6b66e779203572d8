"""How a generation model is to be run: its device, its batch and its cache."""

import json
from dataclasses import dataclass
from typing import Any

from contract.errors import DeviceUnavailableError, InvalidModelError
from model_store.manifest import ModelVersion
from workers.engine.cache_plan import (
    CPU_SHARES,
    GPU_SHARES,
    CachePlan,
    available_memory_bytes,
    plan_cache,
)
from workers.engine.device import CPU, free_gpu_bytes, parse_device, usable_threads

_CONFIG_FILE = "genai_config.json"
# More tokens a step make a long prompt's neighbours wait longer and nobody faster.
_CPU_TOKENS_PER_STEP = 128
_GPU_TOKENS_PER_STEP = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """How a model is loaded. What was not asked for is a ceiling until steps were measured.

    ``tokens_per_step`` is the most tokens in one step. Running answers come first; prompts must
    keep a share, so it is twice the ``slots`` at least. ``vocabulary`` is the number of tokens.
    """

    device: str
    device_index: int
    slots: int
    slots_asked_for: bool = True
    threads: int
    cache: CachePlan
    tokens_per_step: int
    vocabulary: int

    def overlay(self) -> dict[str, Any]:
        """What changes in the model's ``genai_config.json``."""
        batching = {
            "max_batch_size": self.slots,
            "num_blocks": self.cache.num_blocks,
            "max_scheduled_tokens": self.tokens_per_step,
            "prefix_caching": True,
        }
        session: dict[str, Any] = {"intra_op_num_threads": self.threads}
        if self.device == CPU:
            # How long a thread that waits for the others spins before it sleeps. Medians on 2
            # cores, alone and beside one busy process, tokens/s: no spinning 125 and 91, 100 us
            # 139 and 78, without limit 127 and 64.
            session["session.intra_op.spin_duration_us"] = "100"
        return {
            "model": {"decoder": {"session_options": session}},
            "engine": {"dynamic_batching": batching},
        }


def plan_generation(
    version: ModelVersion, *, slots: int, threads: int, device: str
) -> GenerationPlan:
    """Decide how to load ``version``; ``slots`` 0 leaves their number to a measurement.

    Raises:
        DeviceUnavailableError: the version was made for the other kind of device, or there is
            no such GPU.
        EngineError: there is too little memory.
        InvalidModelError: the model is not in the form that can be batched continuously.
    """
    kind, index = parse_device(device)
    if version.manifest.device != kind:
        raise DeviceUnavailableError(
            f"{version.ref} was made for {version.manifest.device} and cannot run on {kind};"
            f" import the model for {kind}"
        )
    shape = _read_shape(version)
    free_bytes = available_memory_bytes() if kind == CPU else free_gpu_bytes(index)
    cache = plan_cache(
        slots=slots,
        context_length=version.manifest.context_length,
        block_size=shape.block_size,
        bytes_per_token=shape.bytes_per_token,
        memory_bytes=max(free_bytes - _file_bytes(version), 0),
        shares=CPU_SHARES if kind == CPU else GPU_SHARES,
    )
    most_slots = slots or cache.most_slots
    usual = _CPU_TOKENS_PER_STEP if kind == CPU else _GPU_TOKENS_PER_STEP
    return GenerationPlan(
        device=kind,
        device_index=index,
        slots=most_slots,
        slots_asked_for=bool(slots),
        threads=usable_threads(threads),
        cache=cache,
        tokens_per_step=max(usual, 2 * most_slots),
        vocabulary=shape.vocabulary,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Tokens per block, bytes per token of keys and values in all layers, and the vocabulary."""

    block_size: int
    bytes_per_token: int
    vocabulary: int


def _read_shape(version: ModelVersion) -> _Shape:
    path = version.path / _CONFIG_FILE
    value_bytes = 2 if version.manifest.form in ("fp16", "bf16") else 4
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        decoder = record["model"]["decoder"]
        per_layer = 2 * decoder["num_key_value_heads"] * decoder["head_size"]
        return _Shape(
            block_size=int(record["engine"]["dynamic_batching"]["block_size"]),
            bytes_per_token=per_layer * decoder["num_hidden_layers"] * value_bytes,
            vocabulary=int(record["model"]["vocab_size"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidModelError(
            f"{path} does not describe a model with a paged cache: {error!r}"
        ) from error


def _file_bytes(version: ModelVersion) -> int:
    """What loading the model itself is going to take, about."""
    return sum(entry.bytes for entry in version.manifest.files.values())
