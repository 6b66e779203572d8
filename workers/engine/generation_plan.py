"""How a generation model is to be run: its device, its batch and its cache."""

import json
from dataclasses import dataclass
from typing import Any

from contract.errors import DeviceUnavailableError, InvalidModelError
from model_store.manifest import ModelVersion
from workers.engine.cache_plan import CachePlan, available_memory_bytes, plan_cache
from workers.engine.device import CPU, free_gpu_bytes, parse_device, usable_threads

_CONFIG_FILE = "genai_config.json"
# More tokens a step make a long prompt's neighbours wait longer and nobody faster.
_CPU_TOKENS_PER_STEP = 256
_GPU_TOKENS_PER_STEP = 2048
# A CPU shares its memory with everything else. Longer requests run, a few less at a time.
_CPU_TOKENS_PER_SLOT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """What is decided before a model is loaded."""

    device: str
    device_index: int
    slots: int
    threads: int
    cache: CachePlan

    @property
    def tokens_per_step(self) -> int:
        """Most tokens in one step. Running answers come first; prompts must keep a share."""
        usual = _CPU_TOKENS_PER_STEP if self.device == CPU else _GPU_TOKENS_PER_STEP
        return max(usual, 2 * self.slots)

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
    """Decide how to run ``version``.

    Raises:
        DeviceUnavailableError: the version was made for the other kind of device, or there is
            no such GPU.
        InvalidModelError: the model is not in the form that can be batched continuously.
    """
    kind, index = parse_device(device)
    if version.manifest.device != kind:
        raise DeviceUnavailableError(
            f"{version.ref} was made for {version.manifest.device} and cannot run on {kind};"
            f" import the model for {kind}"
        )
    memory_bytes = available_memory_bytes() if kind == CPU else free_gpu_bytes(index)
    block_size, bytes_per_token = _read_cache_shape(version)
    cache = plan_cache(
        slots=slots,
        context_length=version.manifest.context_length,
        tokens_per_slot=_CPU_TOKENS_PER_SLOT if kind == CPU else version.manifest.context_length,
        block_size=block_size,
        bytes_per_token=bytes_per_token,
        memory_bytes=memory_bytes,
    )
    return GenerationPlan(
        device=kind,
        device_index=index,
        slots=slots,
        threads=usable_threads(threads),
        cache=cache,
    )


def _read_cache_shape(version: ModelVersion) -> tuple[int, int]:
    """Tokens per block, and bytes per token of keys and values in all layers."""
    path = version.path / _CONFIG_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        decoder = record["model"]["decoder"]
        block_size = record["engine"]["dynamic_batching"]["block_size"]
        per_layer = 2 * decoder["num_key_value_heads"] * decoder["head_size"]
        values = per_layer * decoder["num_hidden_layers"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidModelError(
            f"{path} does not describe a model with a paged cache: {error!r}"
        ) from error
    value_bytes = 2 if version.manifest.form in ("fp16", "bf16") else 4
    return int(block_size), values * value_bytes
