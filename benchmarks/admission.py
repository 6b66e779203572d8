"""What a rule of admission costs, by simulation: no engine, no clock, the line alone is real.

python -m benchmarks.admission

Requests arrive all at once. A step takes a time that grows with its rows and prompt tokens.
"""

import random
from dataclasses import dataclass

from workers.engine.admission import Admission

_SLOTS = 32
_BLOCK_SIZE = 16
_STEP_S, _ROW_S, _PROMPT_TOKEN_S = 0.025, 0.0015, 0.001  # SmolLM2 at fp32 on two cores, about
_TOKENS_PER_STEP = 256
_LONGEST = 256 + 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Requests: prompts of 16 to 256 tokens, answers within ``answers``, ``asked`` for at most."""

    name: str
    answers: tuple[int, int]
    asked: int | None = None
    """``max_tokens``; None when each asks for what it gets."""
    requests: int = 200


WORKS = (
    Work(name="asks for what it gets", answers=(16, 128)),
    Work(name="asks for 256", answers=(16, 128), asked=256),
    Work(name="asks for 4096", answers=(16, 128), asked=4096),
    Work(name="long, asks for what it gets", answers=(512, 1024), requests=64),
    Work(name="long, asks for 4096", answers=(512, 1024), asked=4096, requests=64),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Generated tokens a second, and how many times a run gave way."""

    tokens_per_s: float
    pauses: int


@dataclass(slots=True)
class _Request:
    prompt: int
    answer: int
    done: int = 0
    unread: int = 0


def simulate(work: Work, *, tokens_per_slot: int, can_pause: bool, seed: int = 1) -> Outcome:
    """Run ``work`` with a cache of ``tokens_per_slot`` for each slot, and the longest request."""
    draw = random.Random(seed)
    line: Admission[int] = Admission(
        slots=_SLOTS,
        num_blocks=max(_SLOTS * tokens_per_slot, _LONGEST) // _BLOCK_SIZE,
        block_size=_BLOCK_SIZE,
    )
    requests = []
    for number in range(work.requests):
        request = _Request(prompt=draw.randint(16, 256), answer=draw.randint(*work.answers))
        worst = request.prompt + (work.asked or request.answer)
        line.join(number, tokens=request.prompt, worst_tokens=worst, can_pause=can_pause)
        requests.append(request)
    inside: dict[int, _Request] = {}
    now_s, pauses = 0.0, 0
    while line.waiting or inside:
        while (paused := line.pause()) is not None:
            del inside[paused]
            pauses += 1
        while (index := line.admit()) is not None:
            inside[index] = requests[index]
            inside[index].unread = requests[index].prompt + requests[index].done
        now_s += _step(line, inside)
    return Outcome(tokens_per_s=sum(request.done for request in requests) / now_s, pauses=pauses)


def _step(line: Admission[int], inside: dict[int, _Request]) -> float:
    """One step of all that are inside; its time."""
    rows = sum(not request.unread for request in inside.values())
    left = _TOKENS_PER_STEP - rows
    for index, request in list(inside.items()):
        taken = min(request.unread, max(left, 1))
        left -= taken
        request.unread -= taken
        if request.unread:
            continue
        request.done += 1
        line.grow(index)
        if request.done == request.answer:
            del inside[index]
            line.release(index)
    prompt_tokens = _TOKENS_PER_STEP - rows - left
    return max(_STEP_S, prompt_tokens * _PROMPT_TOKEN_S) + rows * _ROW_S


def main() -> None:
    """Print a table."""
    print("generated tokens/s: by worst case -> when what it has fits (pauses)")
    for work in WORKS:
        print(f"\n{work.name}; answers of {work.answers[0]} to {work.answers[1]} tokens")
        for tokens in (256, 512, 1024, 2048, 4096):
            strict = simulate(work, tokens_per_slot=tokens, can_pause=False)
            bold = simulate(work, tokens_per_slot=tokens, can_pause=True)
            ratio = bold.tokens_per_s / strict.tokens_per_s
            print(
                f"  {tokens:4} cache tokens a slot: {strict.tokens_per_s:4.0f} ->"
                f" {bold.tokens_per_s:4.0f} ({bold.pauses}), {ratio:.2f}x"
            )


if __name__ == "__main__":
    main()
