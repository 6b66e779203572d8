"""Two versions of one model, each on its device: do they answer alike, and how fast.

usage: python -m benchmarks.gpu REFERENCE CANDIDATE [--device cuda] [--batches 1,8,32,64]

REFERENCE (such as smollm2) runs on the CPU. CANDIDATE runs on the given device. Prints, per
prompt, whether both greedy answers are equal, then the candidate's tokens/s by batch size.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence

from contract.settings import Settings
from model_store.store import ModelStore
from workers.engine import Engine, open_engine

PROMPTS = (
    "What is the capital of France?",
    "Name three primary colours.",
    "Why is the sky blue?",
    "Write one sentence about a river.",
    "How many days has a week?",
    "What does a miller do?",
    "Translate 'good morning' into Spanish.",
    "Give a synonym of 'quick'.",
    "What is 7 plus 5?",
    "Which planet is the largest?",
    "Who wrote 'Romeo and Juliet'?",
    "What is water made of?",
    "Explain gravity to a child.",
    "List two uses of iron.",
    "What is the opposite of 'cold'?",
    "Describe the taste of a lemon.",
    "What does HTTP stand for?",
    "Write a short greeting to a friend.",
    "Where do penguins live?",
    "What is a prime number?",
)
ANSWER_TOKENS = 64
PROMPT_WORDS = 48


def greedy_answers(engine: Engine) -> list[str]:
    """The greedy answers to PROMPTS, all asked at once."""
    runs = [
        engine.submit(
            engine.prompt(
                {"messages": [{"role": "user", "content": text}]},
                {"max_tokens": ANSWER_TOKENS, "temperature": 0.0},
            )
        )
        for text in PROMPTS
    ]
    return [run.result(600).text for run in runs]


def print_parity(reference: Sequence[str], candidate: Sequence[str]) -> int:
    """Print the comparison; how many answers differ."""
    differing = 0
    for prompt, expected, got in zip(PROMPTS, reference, candidate, strict=True):
        alike = _equal_characters(expected, got)
        verdict = "equal" if expected == got else f"differs after {alike} characters"
        differing += expected != got
        print(f"  {verdict:32} {prompt}")
    print(f"greedy parity: {len(PROMPTS) - differing} of {len(PROMPTS)} answers equal")
    return differing


def print_speed(engine: Engine, batches: Sequence[int]) -> None:
    """Print tokens/s by batch size, the best of three rounds of fresh prompts each."""
    for batch in batches:
        rates = []
        for round_number in range(3):
            draw = random.Random(batch * 10 + round_number)
            requests = [
                engine.prompt({"prompt": _text(draw)}, {"max_tokens": ANSWER_TOKENS})
                for _ in range(batch)
            ]
            started_s = time.perf_counter()
            runs = [engine.submit(request) for request in requests]
            tokens = sum(run.result(600).completion_tokens for run in runs)
            rates.append(tokens / (time.perf_counter() - started_s))
        print(f"  batch {batch:3}: {max(rates):8.0f} tokens/s  (rounds: {_short(rates)})")


def _text(draw: random.Random) -> str:
    words = " ".join(PROMPTS).split()
    return " ".join(draw.choice(words) for _ in range(PROMPT_WORDS))


def _equal_characters(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _short(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:.0f}" for rate in rates)


def main() -> int:
    """Run the comparison; exit code 1 when an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reference")
    parser.add_argument("candidate")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", default="1,8,32,64")
    options = parser.parse_args()
    batches = [int(each) for each in options.batches.split(",")]
    store = ModelStore(Settings.from_mapping(os.environ).models_dir)

    reference = open_engine(store.verify(options.reference), slots=len(PROMPTS))
    expected = greedy_answers(reference)
    reference.close()
    candidate = open_engine(
        store.verify(options.candidate), slots=max(batches), device=options.device
    )
    print(f"{options.reference} on cpu, {options.candidate} on {options.device}")
    differing = print_parity(expected, greedy_answers(candidate))
    print_speed(candidate, batches)
    candidate.close()
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
