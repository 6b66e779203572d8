"""Golden prompts: what a version answered when it was imported, so that a worker can ask again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_store.manifest import GoldenPrompt
from model_store.paged_session import PagedSession
from model_store.tokenizer import TextTokenizer

GOLDEN_TOKENS = 24
QUESTIONS = (
    "What is the capital of France?",
    "Count from one to ten in words.",
    "What color is the sky on a clear day?",
    "Write a haiku about the sea.",
)

_MARGINS = {"fp32": 0.005, "packed": 0.005, "fp16": 0.3}
_ROUNDED_MARGIN = 0.1
"""How far the best logit must lead, by form. Closer calls may go the other way on a processor
that adds in another order, so an answer is recorded only up to the first of them."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """A greedy answer as it grows: ``tokens`` end with an end-of-sequence token if one came.

    ``margins`` are the leads of the chosen logits over the second best.
    """

    input: Mapping[str, Any]
    prompt: Sequence[int]
    tokens: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)


def prepare_questions(tokenizer: TextTokenizer) -> list[Answer]:
    """The questions as jobs would store them for this model, not yet answered."""
    inputs: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": question}]}
        if tokenizer.has_chat_template
        else {"prompt": question}
        for question in QUESTIONS
    ]
    return [Answer(input=each, prompt=tokenizer.prompt_tokens(each)) for each in inputs]


def answer_questions(
    session: PagedSession, tokenizer: TextTokenizer, *, together: bool = True
) -> list[Answer]:
    """Answer the questions greedily, in one batch (a row for each) or one after another."""
    answers = prepare_questions(tokenizer)
    for group in [answers] if together else [[answer] for answer in answers]:
        _answer(session, group, tokenizer.eos_token_ids)
    return answers


def record_goldens(
    answers: Sequence[Answer], again: Sequence[Answer], tokenizer: TextTokenizer, *, form: str
) -> tuple[GoldenPrompt, ...]:
    """The part of each answer that any processor must repeat, in a batch or alone.

    ``again`` are the same questions answered under other circumstances: a quantized form
    rounds a row in a batch otherwise than a row that is alone. Answers of which nothing is
    certain are left out.
    """
    margin = _MARGINS.get(form, _ROUNDED_MARGIN)
    goldens = [
        _record(first, _common(first.tokens, second.tokens), margin, tokenizer)
        for first, second in zip(answers, again, strict=True)
    ]
    return tuple(golden for golden in goldens if golden.max_tokens)


def _answer(session: PagedSession, answers: Sequence[Answer], eos: frozenset[int]) -> None:
    session.forget()
    batch = {row: answer.prompt for row, answer in enumerate(answers)}
    while batch:
        for row, logits in zip(batch, session.feed(batch), strict=True):
            runner_up, best = sorted(logits[-1].tolist())[-2:]
            answers[row].tokens.append(int(logits[-1].argmax()))
            answers[row].margins.append(best - runner_up)
        batch = {
            row: answers[row].tokens[-1:]
            for row in batch
            if answers[row].tokens[-1] not in eos and len(answers[row].tokens) < GOLDEN_TOKENS
        }


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two answers share from the start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))


def _record(answer: Answer, limit: int, margin: float, tokenizer: TextTokenizer) -> GoldenPrompt:
    close = (index for index, each in enumerate(answer.margins) if each < margin)
    tokens = answer.tokens[: min(limit, next(close, limit))]
    stopped = bool(tokens) and tokens[-1] in tokenizer.eos_token_ids
    if stopped:
        tokens.pop()
    else:
        # An answer cut inside a character would compare text that nobody sends.
        while tokens and tokenizer.decode(tokens).endswith("\ufffd"):
            tokens.pop()
    return GoldenPrompt(
        input=answer.input,
        prompt_tokens=tuple(answer.prompt),
        max_tokens=len(tokens) + stopped,
        tokens=tuple(tokens),
        text=tokenizer.decode(tokens),
        finish_reason="stop" if stopped else "length",
    )
