"""What the queue costs: the same work through HTTP, Redis and Celery, and on the bare engine.

python -m benchmarks [--model smollm2] [--rounds 3] [--requests 64] [--seed 1] [--save FILE]
"""

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bare_engine import Round, run_round
from benchmarks.whole_queue import QueueUnderTest
from benchmarks.workloads import Item, mixed
from contract.settings import Settings
from model_store.importing.pipeline import import_model
from model_store.store import ModelStore
from workers.engine import open_engine

_WARM_UP = 10_000  # a seed that no measured round uses
_LIBRARIES = ("onnxruntime", "onnxruntime-genai", "celery", "redis", "gunicorn", "gevent")

Subject = Callable[[Sequence[Item]], Round]


def interleave(subjects: dict[str, Subject], seeds: Sequence[int], requests: int) -> list[Any]:
    """Every subject on every round's work, in turns that begin with another one each time.

    Each subject gets the same prompts in one round, and fresh ones in the next: repeated ones
    would be answered from the prefix cache.
    """
    for run in subjects.values():
        run(mixed(_WARM_UP, requests=min(4, requests)))
    rows = []
    for number, seed in enumerate(seeds):
        names = list(subjects)
        for name in names if number % 2 == 0 else reversed(names):
            done = subjects[name](mixed(seed, requests=requests))
            rows.append(
                {
                    "subject": name,
                    "seed": seed,
                    "seconds": done.seconds,
                    "completion_tokens": done.completion_tokens,
                    "tokens_per_s": done.tokens_per_s,
                }
            )
            print(
                f"  round {number + 1} {name:12} {done.completion_tokens:6} tokens in"
                f" {done.seconds:6.2f} s  {done.tokens_per_s:7.1f} tokens/s",
                flush=True,
            )
    return rows


def report(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spread of each subject, and the ratio of the medians."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row["subject"], []).append(row["tokens_per_s"])
    summary: dict[str, Any] = {
        name: {"median": statistics.median(found), "low": min(found), "high": max(found)}
        for name, found in rates.items()
    }
    print(f"\n{'tokens/s':14} {'median':>8} {'low':>8} {'high':>8}")
    for name, found in summary.items():
        print(f"{name:14} {found['median']:8.1f} {found['low']:8.1f} {found['high']:8.1f}")
    ratio = summary["queue"]["median"] / summary["bare engine"]["median"]
    print(f"\nthrough the queue at {100 * ratio:.1f} % of the bare engine (ratio of medians)")
    return {**summary, "ratio": ratio}


def machine() -> dict[str, Any]:
    """What was measured on, with which versions."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def main() -> None:
    """Measure, print, and save when asked."""
    parser = argparse.ArgumentParser(description="What the queue costs, in tokens per second.")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path)
    asked = parser.parse_args()
    settings = Settings.from_mapping({})
    store = ModelStore(settings.models_dir)
    if asked.model not in store.names():
        import_model(store, asked.model)
    engine = open_engine(store.resolve(asked.model), slots=settings.slots, threads=settings.threads)
    about = machine()
    print(f"{asked.requests} mixed requests at once, {asked.model}, {settings.slots} slots;"
          f" {about['cores']} cores, {about['memory_gib']} GiB")  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        QueueUnderTest(Path(folder), settings.models_dir, asked.model) as queue,
    ):
        subjects: dict[str, Subject] = {
            "bare engine": lambda items: run_round(engine, items),
            "queue": queue.run_round,
        }
        seeds = range(asked.seed, asked.seed + asked.rounds)
        rows = interleave(subjects, seeds, asked.requests)
    engine.close()
    summary = report(rows)
    if asked.save:
        content = {"machine": about, "rounds": rows, "summary": summary, "model": asked.model}
        asked.save.parent.mkdir(parents=True, exist_ok=True)
        asked.save.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
