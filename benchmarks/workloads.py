"""What the benchmarks ask for: fresh prompts for each seed, as repeated ones hit the prefix cache.

A workload is a value: the same name, seed and count give the same items on every machine.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Common words, each one token in most vocabularies when a space goes before.
_TEXT = (
    "time year people way day man thing woman life child world school state family student group"
    " country problem hand part place case week company system program question work government"
    " number night point home water room mother area money story fact month lot right study book"
    " eye job word business issue side kind head house service friend father power hour game line"
    " end member law car city community name president team minute idea kid body information back"
    " parent face others level office door health person art war history party result change"
    " morning reason research girl guy moment air teacher force education"
)
_WORDS = _TEXT.split()
_TASK = "Write a long story with these words."
_CLASSIFY = "Is this about people or about things? Answer with one word."
_TEMPLATE_TOKENS = 39  # about: what a chat template and the task add to the words
_SYSTEM_TOKENS = 5  # about: what a chat template adds to a system prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request.

    ``stored_input`` is the input as a job stores it; ``max_tokens`` the most tokens of the
    answer, 0 for an embedding. It is asked ``at_s`` seconds after the round began. ``cache``
    lets the answer come from a result cache.
    """

    stored_input: Mapping[str, Any]
    max_tokens: int = 0
    at_s: float = 0.0
    cache: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """Greedy, so that equal work gives equal tokens."""
        return {"max_tokens": self.max_tokens, "temperature": 0.0} if self.max_tokens else {}

    @property
    def texts(self) -> int:
        """How many texts are to be embedded."""
        return len(self.stored_input.get("texts", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Items, and how they are asked.

    ``clients`` ask one item after the other; None: each item has a client of its own, who asks
    at the item's time whatever the others do. ``streamed`` answers are read token by token.
    ``before`` is asked before the clock starts. ``newcomer`` is the index of the item that joins
    the others while they run.
    """

    name: str
    items: tuple[Item, ...]
    clients: int | None = None
    streamed: bool = False
    before: tuple[Item, ...] = ()
    newcomer: int | None = None


def mixed(
    seed: int,
    count: int = 64,
    *,
    prompt_tokens: tuple[int, int] = (16, 256),
    answer_tokens: tuple[int, int] = (16, 128),
) -> Workload:
    """Requests of mixed sizes, all at once. Ranges include their ends.

    The length of a prompt is meant with its chat template and is right to a few tokens; a
    prompt shorter than the template alone has one word.
    """
    draw = _draw("mixed", seed)
    return Workload(name="mixed", items=_mixed(draw, count, prompt_tokens, answer_tokens))


def poisson(seed: int, count: int = 64, *, rate_per_s: float) -> Workload:
    """The mixed requests, arriving at random times with ``rate_per_s`` on average."""
    draw = _draw(f"poisson {rate_per_s}", seed)
    at_s, items = 0.0, []
    for item in _mixed(draw, count, (16, 256), (16, 128)):
        at_s += draw.expovariate(rate_per_s)
        items.append(_story(item.stored_input["messages"], item.max_tokens, at_s=at_s))
    return Workload(name="poisson", items=tuple(items), streamed=True)


def alone(seed: int, count: int = 30) -> Workload:
    """Short requests, each asked when the one before has ended: what an idle service adds."""
    draw = _draw("alone", seed)
    items = tuple(_story(_user(draw, 64 - _TEMPLATE_TOKENS), 16) for _ in range(count))
    return Workload(name="alone", items=items, clients=1, streamed=True)


def shared(seed: int, count: int = 48, *, system_tokens: int = 208) -> Workload:
    """Short questions behind one long system prompt, all at once."""
    draw = _draw("shared", seed)
    system = _some_words(draw, system_tokens - _SYSTEM_TOKENS)
    return Workload(name="shared", items=tuple(_question(draw, system) for _ in range(count)))


def unshared(seed: int, count: int = 48, *, system_tokens: int = 208) -> Workload:
    """The same work as ``shared``, but each has another system prompt: no cache can help."""
    draw = _draw("unshared", seed)
    words = system_tokens - _SYSTEM_TOKENS
    items = tuple(_question(draw, _some_words(draw, words)) for _ in range(count))
    return Workload(name="unshared", items=items)


def repeated(seed: int, count: int = 2000, *, clients: int = 16, distinct: int = 16) -> Workload:
    """A few requests that were all answered before, asked again and again."""
    draw = _draw(f"repeated by {clients}", seed)
    before = tuple(
        _story(_user(draw, 64 - _TEMPLATE_TOKENS), 16, cache=True) for _ in range(distinct)
    )
    items = tuple(draw.choices(before, k=count))
    return Workload(name="repeated", items=items, clients=clients, before=before)


def join(seed: int, count: int = 8, *, long_tokens: int = 1500) -> Workload:
    """``count`` running streams, and one long prompt that joins them after a second."""
    draw = _draw("join", seed)
    running = [_story(_user(draw, 64 - _TEMPLATE_TOKENS), 160) for _ in range(count)]
    newcomer = _story(_user(draw, long_tokens - _TEMPLATE_TOKENS), 16, at_s=1.0)
    return Workload(name="join", items=(*running, newcomer), streamed=True, newcomer=count)


def classify(seed: int, count: int = 500, *, clients: int = 64) -> Workload:
    """Short texts to be put into classes: answers of at most 8 tokens."""
    draw = _draw("classify", seed)
    texts = (f"{_some_words(draw, draw.randint(8, 40))}\n{_CLASSIFY}" for _ in range(count))
    items = tuple(_story([{"role": "user", "content": text}], 8) for text in texts)
    return Workload(name="classify", items=items, clients=clients)


def embed(
    seed: int, count: int = 1000, *, texts_each: int = 10, words: tuple[int, int] = (4, 200)
) -> Workload:
    """``count`` texts of mixed length to embed, ``texts_each`` in one request, all at once."""
    draw = _draw("embed", seed)
    texts = [_some_words(draw, draw.randint(*words)) for _ in range(count)]
    groups = (texts[start : start + texts_each] for start in range(0, count, texts_each))
    return Workload(name="embed", items=tuple(Item(stored_input={"texts": g}) for g in groups))


def _draw(name: str, seed: int) -> random.Random:
    # The name is part of it, so that no workload finds another one's prompts in a cache.
    return random.Random(f"{name} {seed}")


def _mixed(
    draw: random.Random, count: int, prompt: tuple[int, int], answer: tuple[int, int]
) -> tuple[Item, ...]:
    return tuple(
        _story(_user(draw, draw.randint(*prompt) - _TEMPLATE_TOKENS), draw.randint(*answer))
        for _ in range(count)
    )


def _user(draw: random.Random, words: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{_some_words(draw, words)}\n{_TASK}"}]


def _question(draw: random.Random, system: str) -> Item:
    question = f"{_some_words(draw, draw.randint(8, 24))}?"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return _story(messages, 8)


def _story(
    messages: list[dict[str, str]], max_tokens: int, *, at_s: float = 0.0, cache: bool = False
) -> Item:
    return Item(stored_input={"messages": messages}, max_tokens=max_tokens, at_s=at_s, cache=cache)


def _some_words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(_WORDS, k=max(1, count)))
