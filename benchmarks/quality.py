"""Quality beside speed: a fast wrong answer is worth nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.subjects.models import EMBEDDER, version_of
from benchmarks.subjects.subject import Subject
from benchmarks.workloads import Item
from model_store.manifest import GoldenPrompt
from model_store.store import ModelStore

_OURS = ("millrace", "engine", "one-by-one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How a subject's answers compare with those of the exact form.

    ``kl_mean`` (nats) and ``top1_agreement`` over a page of text were measured at import; None
    for subjects that are not Millrace's. ``equal`` of ``asked`` golden prompts were answered with
    the recorded text; ``wrong`` has the other answers.
    """

    asked: int
    equal: int
    wrong: tuple[str, ...]
    kl_mean: float | None = None
    top1_agreement: float | None = None


def judge(store: ModelStore, name: str, subject: Subject) -> Quality | None:
    """Ask a subject the golden prompts of the exact form; None for an embedder."""
    kind, _, form = name.partition(":")
    if form == EMBEDDER:
        return None
    golden = [g for g in version_of(store, "fp32").manifest.golden if isinstance(g, GoldenPrompt)]
    texts = [_answer(subject, prompt) for prompt in golden]
    pairs = list(zip(golden, texts, strict=True))
    measured = version_of(store, form).manifest.quality if kind in _OURS else {}
    exact = kind in _OURS and form == "fp32"
    return Quality(
        asked=len(golden),
        equal=sum(text == prompt.text for prompt, text in pairs),
        wrong=tuple(text for prompt, text in pairs if text != prompt.text),
        kl_mean=0.0 if exact else measured.get("kl_mean"),
        top1_agreement=1.0 if exact else measured.get("top1_agreement"),
    )


def count_same(texts: Sequence[str], expected: Sequence[str]) -> int:
    """How many answers are equal, text for text."""
    return sum(a == b for a, b in zip(texts, expected, strict=True))


def _answer(subject: Subject, prompt: GoldenPrompt) -> str:
    return subject.ask(Item(stored_input=prompt.input, max_tokens=prompt.max_tokens)).text
