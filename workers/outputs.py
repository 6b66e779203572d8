"""Between a job's words and the engine's: its seed, its output, its usage."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.job import Claim
from workers.engine import EmbeddingResult, GenerationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A job's ``output`` and ``usage``, as they are stored."""

    output: Mapping[str, Any]
    usage: Mapping[str, int]


def seed_of(claim: Claim) -> int:
    """The seed of a run, in 32 bits: the request's own, else one that every attempt shares.

    A second attempt so repeats the tokens of a lost one, and a stream can go on where it broke.
    """
    asked = claim.parameters.get("seed")
    if asked is not None:
        return int(asked)
    return int.from_bytes(hashlib.sha256(claim.job_id.encode()).digest()[:4], "big") >> 1


def answer(claim: Claim, result: GenerationResult | EmbeddingResult) -> Answer:
    """What a result says to whoever asked."""
    if isinstance(result, GenerationResult):
        return Answer(
            output={"text": result.text, "finish_reason": result.finish_reason},
            usage=_usage(result.prompt_tokens, result.completion_tokens, result.cached_tokens),
        )
    vectors = result.vectors.tolist()
    output = {"embeddings": vectors} if claim.input["many"] else {"embedding": vectors[0]}
    return Answer(output=output, usage=_usage(result.prompt_tokens, 0, 0))


def _usage(prompt: int, completion: int, cached: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached_tokens": cached,
    }
