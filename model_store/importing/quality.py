"""What a quantized form costs: its answers and its distributions against the exact form's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ModelImportError
from model_store.importing.golden import QUESTIONS, Answer
from model_store.importing.texts import QUALITY
from model_store.paged_session import Logits, PagedSession
from model_store.tokenizer import TextTokenizer

LEAST_TOP1 = 0.9
MOST_KL = 0.05
"""A form that is worse than these is refused: it would answer like another model."""


def measure_quality(
    exact: PagedSession, quantized: PagedSession, tokenizer: TextTokenizer
) -> dict[str, Any]:
    """Compare next-token distributions over a page of text; each session needs one row.

    ``kl_mean`` is the mean Kullback-Leibler divergence of the quantized from the exact
    distribution, in nats; ``top1_agreement`` the share of positions with the same best token.

    Raises:
        ModelImportError: the quantized form is too far off to be of use.
    """
    divergences, agreements = [], []
    for text in QUALITY:
        tokens = tokenizer.encode(text)
        wanted, found = _logits(exact, tokens), _logits(quantized, tokens)
        divergences.append(_divergence(wanted, found))
        agreements.append(wanted.argmax(-1) == found.argmax(-1))
    divergence, agreement = np.concatenate(divergences), np.concatenate(agreements)
    mean, top1 = float(divergence.mean()), float(agreement.mean())
    if top1 < LEAST_TOP1 or mean > MOST_KL:
        raise ModelImportError(
            f"the quantized form is too far from fp32: top-1 agreement {top1:.3f} (at least"
            f" {LEAST_TOP1}), mean KL {mean:.4f} (at most {MOST_KL})"
        )
    return {
        "compared_with": "fp32",
        "tokens": len(divergence),
        "kl_mean": round(mean, 6),
        "kl_max": round(float(divergence.max()), 6),
        "top1_agreement": round(top1, 4),
    }


def compare_answers(
    exact: Sequence[Answer], quantized: Sequence[Answer], tokenizer: TextTokenizer
) -> dict[str, Any]:
    """Both answers to each question, and how many are equal token for token."""
    rows = [
        {
            "question": question,
            "fp32": tokenizer.decode(wanted.tokens),
            "quantized": tokenizer.decode(found.tokens),
        }
        for question, wanted, found in zip(QUESTIONS, exact, quantized, strict=True)
    ]
    equal = sum(a.tokens == b.tokens for a, b in zip(exact, quantized, strict=True))
    return {"equal_answers": equal, "answers": rows}


def _logits(session: PagedSession, tokens: Sequence[int]) -> Logits:
    session.forget()
    return session.feed({0: tokens})[0]


def _divergence(wanted: Logits, found: Logits) -> NDArray[np.float64]:
    p, q = _log_softmax(wanted), _log_softmax(found)
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return divergence


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
