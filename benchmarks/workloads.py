"""What the benchmarks ask for: fresh prompts each round, as repeated ones hit the prefix cache."""

import random
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
_TEMPLATE_TOKENS = 45  # about: what a chat template and the task add to the words


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request: what is asked, and the most tokens of the answer."""

    text: str
    max_tokens: int

    @property
    def stored_input(self) -> dict[str, Any]:
        """The input as a job stores it."""
        return {"messages": [{"role": "user", "content": self.text}]}

    @property
    def parameters(self) -> dict[str, Any]:
        """Greedy, so that equal work gives equal tokens."""
        return {"max_tokens": self.max_tokens, "temperature": 0.0}


def mixed(
    seed: int,
    *,
    requests: int = 64,
    prompt_tokens: tuple[int, int] = (16, 256),
    answer_tokens: tuple[int, int] = (16, 128),
) -> list[Item]:
    """Requests of mixed sizes, to be asked all at once. Ranges include their ends.

    The length of a prompt is meant with its chat template and is right to a few tokens; a
    prompt shorter than the template alone has one word.
    """
    draw = random.Random(seed)
    items = []
    for _ in range(requests):
        words = max(1, draw.randint(*prompt_tokens) - _TEMPLATE_TOKENS)
        text = f"{' '.join(draw.choices(_WORDS, k=words))}\n{_TASK}"
        items.append(Item(text=text, max_tokens=draw.randint(*answer_tokens)))
    return items
