"""Tokens per second of the engine alone: no HTTP, no queue.

python -m benchmarks.bare_engine .millrace/models smollm2 --slots 32 --threads 2 --seeds 1 2 3
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import Item, mixed
from model_store.store import ModelStore
from workers.engine import Engine, open_engine

_WARM_UP = 10_000  # a seed that no measured round uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One workload, from the first submit to the last result."""

    seconds: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens per second; prompt tokens are work, too, and not counted."""
        return self.completion_tokens / self.seconds


def run_round(engine: Engine, items: Sequence[Item]) -> Round:
    """Ask all ``items`` at once, as text, and wait for all answers."""
    started_s = time.perf_counter()
    runs = [engine.submit(engine.prompt(item.stored_input, item.parameters)) for item in items]
    results = [run.result() for run in runs]
    return Round(
        seconds=time.perf_counter() - started_s,
        prompt_tokens=sum(result.prompt_tokens for result in results),
        completion_tokens=sum(result.completion_tokens for result in results),
    )


def measure(
    models_dir: Path,
    model: str,
    *,
    seeds: Sequence[int],
    slots: int,
    threads: int,
    device: str = "cpu",
    requests: int = 64,
) -> list[Round]:
    """One round of the mixed workload for each seed, after a short one to warm up."""
    engine = open_engine(
        ModelStore(models_dir).resolve(model), slots=slots, threads=threads, device=device
    )
    try:
        run_round(engine, mixed(_WARM_UP, requests=min(4, requests)))
        return [run_round(engine, mixed(seed, requests=requests)) for seed in seeds]
    finally:
        engine.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = vars(parser.parse_args())
    rounds = measure(options.pop("models_dir"), options.pop("model"), **options)
    for seed, each in zip(options["seeds"], rounds, strict=True):
        print(
            f"seed {seed}: {each.prompt_tokens} + {each.completion_tokens} tokens in"
            f" {each.seconds:.2f} s, {each.tokens_per_s:.1f} tokens/s"
        )
    print(f"median {statistics.median(each.tokens_per_s for each in rounds):.1f} tokens/s")


if __name__ == "__main__":
    main()
