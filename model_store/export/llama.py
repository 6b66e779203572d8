"""The llama architecture: its numbers, and the names of its weights.

Weight names, ``N`` being a layer: ``embedding``, ``final_norm``, ``output`` (absent when tied
to the embedding), and per layer ``N.attention_norm``, ``N.q``, ``N.k``, ``N.v``, ``N.o``,
``N.mlp_norm``, ``N.gate``, ``N.up``, ``N.down``. The rows of q and k are in the order that
rotates the two halves of a head against each other (Hugging Face's; GGUF interleaves them).
"""

from dataclasses import dataclass

import numpy as np

from model_store.export.weights import Float32, Weights

LAYER_WEIGHTS = ("attention_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """The numbers of one llama. Sizes count elements; ``context_length`` counts tokens.

    ``rope_factors`` slow the rotation of each pair of a head down, for contexts longer than those
    of the training (Llama 3.1); empty when none does.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    context_length: int
    rms_epsilon: float
    rope_base: float
    tied: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    rope_factors: tuple[float, ...] = ()

    @property
    def attention_scale(self) -> float:
        """What dot products of queries and keys are multiplied by."""
        return float(self.head_size**-0.5)

    def rotary_tables(self) -> tuple[Float32, Float32]:
        """cos and sin, each ``[context_length, head_size / 2]`` (Su et al., RoFormer, 2021)."""
        powers = np.arange(0, self.head_size, 2, dtype=np.float64) / self.head_size
        frequencies = self.rope_base**-powers / (self.rope_factors or 1.0)
        angles = np.outer(np.arange(self.context_length), frequencies)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama:
    """A llama's numbers and where its weights are read from."""

    config: LlamaConfig
    weights: Weights

    def output_weight(self) -> Float32:
        """The matrix ``[vocabulary, hidden]`` that makes logits."""
        return self.weights.read("embedding" if self.config.tied else "output")
