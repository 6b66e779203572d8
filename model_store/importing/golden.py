"""Golden prompts: what a version answered when it was imported, so that a worker can ask again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from model_store.manifest import GoldenPrompt
from model_store.paged_session import PagedSession
from model_store.tokenizer import TextTokenizer

GOLDEN_TOKENS = 24
QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "How many days are in a week?",
    "Translate 'good morning' into Spanish.",
)

MARGINS = {"fp32": 0.02, "int8": 0.2}
"""How far the best logit must lead, by form. Closer calls may go the other way on a processor
that adds in another order, so an answer is recorded only up to the first of them."""


@dataclass(slots=True)
class _Answer:
    tokens: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)


def stored_inputs(tokenizer: TextTokenizer) -> list[dict[str, object]]:
    """The questions as jobs would store them for this model."""
    if tokenizer.has_chat_template:
        return [{"messages": [{"role": "user", "content": text}]} for text in QUESTIONS]
    return [{"prompt": text} for text in QUESTIONS]


def record_goldens(
    session: PagedSession, tokenizer: TextTokenizer, *, form: str
) -> tuple[GoldenPrompt, ...]:
    """Answer the questions greedily, as one batch; ``session`` needs a row for each."""
    inputs = stored_inputs(tokenizer)
    prompts = [tokenizer.prompt_tokens(each) for each in inputs]
    answers = _answer(session, prompts, tokenizer.eos_token_ids)
    return tuple(
        _golden(tokenizer, each, prompt, answer, MARGINS[form])
        for each, prompt, answer in zip(inputs, prompts, answers, strict=True)
    )


def _answer(
    session: PagedSession, prompts: Sequence[Sequence[int]], eos: frozenset[int]
) -> list[_Answer]:
    """Greedy tokens of each prompt, an end-of-sequence token included where one came."""
    session.forget()
    answers = [_Answer() for _ in prompts]
    batch: dict[int, Sequence[int]] = dict(enumerate(prompts))
    while batch:
        rows = list(batch)
        for row, logits in zip(rows, session.feed(batch), strict=True):
            token = int(logits[-1].argmax())
            runner_up, best = sorted(logits[-1].tolist())[-2:]
            answers[row].tokens.append(token)
            answers[row].margins.append(best - runner_up)
        batch = {
            row: answers[row].tokens[-1:]
            for row in rows
            if answers[row].tokens[-1] not in eos and len(answers[row].tokens) < GOLDEN_TOKENS
        }
    return answers


def _golden(
    tokenizer: TextTokenizer,
    stored_input: dict[str, object],
    prompt: Sequence[int],
    answer: _Answer,
    margin: float,
) -> GoldenPrompt:
    close = (index for index, each in enumerate(answer.margins) if each < margin)
    tokens = answer.tokens[: next(close, len(answer.tokens))]
    stopped = bool(tokens) and tokens[-1] in tokenizer.eos_token_ids
    if stopped:
        tokens.pop()
    else:
        # An answer cut inside a character would compare text that nobody sends.
        while tokens and tokenizer.decode(tokens).endswith("\ufffd"):
            tokens.pop()
    return GoldenPrompt(
        input=stored_input,
        prompt_tokens=tuple(prompt),
        max_tokens=len(tokens) + stopped,
        tokens=tuple(tokens),
        text=tokenizer.decode(tokens),
        finish_reason="stop" if stopped else "length",
    )
