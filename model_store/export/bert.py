"""The BERT architecture as sentence encoders use it: its numbers, and the names of its weights.

Weight names are those of Hugging Face's ``BertModel`` without a prefix.
"""

from dataclasses import dataclass

from model_store.export.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BertConfig:
    """The numbers of one BERT; ``context_length`` counts tokens."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    context_length: int
    norm_epsilon: float

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """A BERT's numbers and where its weights are read from."""

    config: BertConfig
    weights: Weights
