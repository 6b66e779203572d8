"""The llama architecture: its numbers, and the names of its weights.

Weight names, ``N`` being a layer: ``embedding``, ``final_norm``, ``output`` (absent when tied
to the embedding), and per layer ``N.attention_norm``, ``N.q``, ``N.k``, ``N.v``, ``N.o``,
``N.mlp_norm``, ``N.gate``, ``N.up``, ``N.down``. The rows of q and k are in the order that
rotates the two halves of a head against each other (Hugging Face's; GGUF interleaves them).
"""

from dataclasses import dataclass

import numpy as np

from contract.errors import ModelImportError
from model_store.export.numbers import require_positive, require_whole
from model_store.export.weights import Float32, Weights

_MOST = {
    "layers": 1 << 10,
    "hidden": 1 << 17,
    "heads": 1 << 12,
    "kv_heads": 1 << 12,
    "head_size": 1 << 10,
    "feed_forward": 1 << 20,
    "vocabulary": 1 << 24,
    "context_length": 1 << 20,
}
_MOST_ROTATIONS = 1 << 28
LAYER_WEIGHTS = ("attention_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """The numbers of one llama. Sizes count elements; ``context_length`` counts tokens.

    ``rope_factors`` slow the rotation of each pair of a head down, for contexts longer than those
    of the training (Llama 3.1); empty when none does.

    Raises:
        ModelImportError: a number is not one that a llama can have, or far beyond all models.
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

    def __post_init__(self) -> None:
        """Refuse what a foreign file may say: every size here becomes memory."""
        for name, most in _MOST.items():
            require_whole(name, getattr(self, name), least=1, most=most)
        for token in (self.bos_token_id, *self.eos_token_ids, self.pad_token_id):
            if token is not None:
                require_whole("token id", token, least=0, most=self.vocabulary - 1)
        for name, value in (("rms_epsilon", self.rms_epsilon), ("rope_base", self.rope_base)):
            require_positive(name, value)
        for factor in self.rope_factors:
            require_positive("rope_factors", factor)
        if self.heads % self.kv_heads or self.head_size % 2:
            raise ModelImportError(
                f"{self.heads} heads of {self.head_size} do not share {self.kv_heads} keys"
            )
        if len(self.rope_factors) not in (0, self.head_size // 2):
            raise ModelImportError(f"there are {len(self.rope_factors)} rope_factors")
        if self.context_length * self.head_size > _MOST_ROTATIONS:
            raise ModelImportError(f"a context of {self.context_length} tokens is too long")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that the weight called ``name`` must have."""
        hidden, part = self.hidden, name.rpartition(".")[2]
        if "norm" in part:
            return (hidden,)
        return {
            "embedding": (self.vocabulary, hidden),
            "output": (self.vocabulary, hidden),
            "q": (self.heads * self.head_size, hidden),
            "k": (self.kv_heads * self.head_size, hidden),
            "v": (self.kv_heads * self.head_size, hidden),
            "o": (hidden, self.heads * self.head_size),
            "gate": (self.feed_forward, hidden),
            "up": (self.feed_forward, hidden),
            "down": (hidden, self.feed_forward),
        }[part]

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
