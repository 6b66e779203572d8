"""What an engine is asked for, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

FinishReason = Literal["stop", "length"]

OnText = Callable[[str, int], None]
"""Called on the engine's thread with a new piece of text and the tokens generated so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One text to continue. Greedy when ``temperature`` is 0; ``top_k`` 0 means no limit.

    ``json_schema`` is one that the answer is made to hold, as text.
    """

    prompt_tokens: Sequence[int]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """A finished text. ``cached_tokens`` of the prompt were found in the prefix cache."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """Texts to embed, each as its token ids."""

    texts_tokens: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingResult:
    """One row per text, in the order of the request: float32 [texts, dimensions]."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    prompt_tokens: int
