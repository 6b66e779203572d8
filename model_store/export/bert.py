"""The BERT architecture as sentence encoders use it: its numbers, and the names of its weights.

Weight names are those of Hugging Face's ``BertModel`` without a prefix.
"""

from dataclasses import dataclass

from contract.errors import ModelImportError
from model_store.export.numbers import require_positive, require_whole
from model_store.export.weights import Weights

_MOST = {
    "layers": 1 << 10,
    "hidden": 1 << 17,
    "heads": 1 << 12,
    "feed_forward": 1 << 20,
    "vocabulary": 1 << 24,
    "context_length": 1 << 20,
    "token_types": 1 << 10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BertConfig:
    """The numbers of one BERT; ``context_length`` counts tokens.

    Raises:
        ModelImportError: a number is not one that a BERT can have, or far beyond all models.
    """

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    context_length: int
    norm_epsilon: float
    token_types: int = 2

    def __post_init__(self) -> None:
        """Refuse what a foreign file may say: every size here becomes memory."""
        for name, most in _MOST.items():
            require_whole(name, getattr(self, name), least=1, most=most)
        require_positive("norm_epsilon", self.norm_epsilon)
        if self.hidden % self.heads:
            raise ModelImportError(f"{self.heads} heads do not share {self.hidden} elements")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that the weight called ``name`` must have."""
        tables = {
            "embeddings.word_embeddings.weight": (self.vocabulary, self.hidden),
            "embeddings.position_embeddings.weight": (self.context_length, self.hidden),
            "embeddings.token_type_embeddings.weight": (self.token_types, self.hidden),
        }
        if name in tables:
            return tables[name]
        wide, vector = "intermediate" in name, name.endswith(".bias") or "LayerNorm" in name
        if vector:
            return (self.feed_forward if wide else self.hidden,)
        if "attention" in name:
            return (self.hidden, self.hidden)
        return (self.feed_forward, self.hidden) if wide else (self.hidden, self.feed_forward)

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """A BERT's numbers and where its weights are read from."""

    config: BertConfig
    weights: Weights
