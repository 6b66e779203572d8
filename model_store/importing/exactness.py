"""Does an fp32 graph compute what the weights say, however its tokens arrive?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contract.errors import ModelImportError
from model_store.export.llama import Llama
from model_store.export.weights import Float32
from model_store.importing.reference_llama import reference_logits
from model_store.importing.texts import EXACTNESS, ROUND_TRIP
from model_store.paged_session import PagedSession
from model_store.tokenizer import TextTokenizer

_TOLERANCE = 2e-5
"""Largest error of a logit, relative to the largest logit: some hundred roundings of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """How far a graph's logits are from the reference, over all ways of feeding it."""

    max_logit_error: float
    max_logit: float
    positions: int

    @property
    def is_exact(self) -> bool:
        """Whether the error is that of rounding alone."""
        return self.max_logit_error <= _TOLERANCE * self.max_logit


def check_exactness(session: PagedSession, llama: Llama, tokenizer: TextTokenizer) -> Exactness:
    """Hold the graph against a forward pass in numpy, in every way that the Engine feeds it.

    Raises:
        ModelImportError: the logits differ by more than rounding.
    """
    texts = [tokenizer.encode(text) for text in EXACTNESS]
    found = compare(session, texts, reference_logits(llama, texts))
    if not found.is_exact:
        raise ModelImportError(
            f"the graph is off its reference by {found.max_logit_error:.2g} (the largest logit is"
            f" {found.max_logit:.3g}); this is a fault of the exporter, please report it"
        )
    return found


def compare(
    session: PagedSession, texts: Sequence[Sequence[int]], expected: Sequence[Float32]
) -> Exactness:
    """Feed ``texts`` whole, all at once, in chunks and token by token; measure the worst error."""
    errors, positions = [], 0
    for schedule in _schedules([len(text) for text in texts]):
        session.forget()
        fed = [0] * len(texts)
        for step in schedule:
            batch = {row: texts[row][fed[row] : fed[row] + count] for row, count in step.items()}
            for row, logits in zip(batch, session.feed(batch), strict=True):
                wanted = expected[row][fed[row] : fed[row] + len(logits)]
                # NaN must count as wrong, and it is greater than nothing.
                errors.append(np.nan_to_num(np.abs(logits - wanted), nan=np.inf).max())
                positions += len(logits)
                fed[row] += len(logits)
    return Exactness(
        max_logit_error=float(max(errors)),
        max_logit=float(max(np.abs(each).max() for each in expected)),
        positions=positions,
    )


def check_round_trip(tokenizer: TextTokenizer, vocabulary: int, *, lossless: bool) -> int:
    """Check that text survives encoding and decoding; the number of texts that do.

    Odd texts must survive a ``lossless`` tokenizer only.

    Raises:
        ModelImportError: names the text that does not, or a token that the model does not have.
    """
    survivors = 0
    for text in (*EXACTNESS, *ROUND_TRIP):
        ids = tokenizer.encode(text, special_tokens=False)
        found = tokenizer.decode(ids)
        if max(ids) >= vocabulary:
            raise ModelImportError(f"the tokenizer has token {max(ids)}; the model {vocabulary}")
        if found != text and (lossless or text in EXACTNESS):
            raise ModelImportError(f"the tokenizer turns {text!r} into {found!r}")
        survivors += found == text
    return survivors


Step = dict[int, int]
"""How many tokens each row gets in one run of the graph."""


def _schedules(lengths: Sequence[int]) -> list[list[Step]]:
    """Ways to feed rows of these lengths; every token is fed once in each."""
    rows = range(len(lengths))
    whole = [{row: lengths[row]} for row in rows]
    together = [dict(enumerate(lengths))]
    # Chunks of different sizes: while some rows decode one token, others get a part of a prompt.
    chunked: list[Step] = []
    left = list(lengths)
    while any(left):
        turn = len(chunked)
        step = {row: min(left[row], (1, 7, 16, 33)[(row + turn) % 4]) for row in rows if left[row]}
        for row, count in step.items():
            left[row] -= count
        chunked.append(step)
    # A ragged prefill, then steps in which every row has exactly one token.
    decode = min(4, *(length - 1 for length in lengths if length > 1))
    long = [row for row in rows if lengths[row] > decode]
    decoding = [{row: lengths[row] - decode for row in long}, *([dict.fromkeys(long, 1)] * decode)]
    return [whole, together, chunked, decoding]
