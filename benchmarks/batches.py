"""A large batch beside people who wait: ``python -m benchmarks.batches [--lines 50000]``.

Workers whose engines are simulated answer single requests alone at first, then while a batch runs.
Prints and saves the latencies of both, the batch's rate, and the memory of each process.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.queue_cost.__main__ import machine
from millrace.client import Client
from tests.support.feeding import chat_line
from tests.support.lab import Lab
from tests.support.worker_process import WorkerProcess

_MIB = 1 << 20


class Memory:
    """The resident memory of processes, sampled until the end of a block."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self.first = self._now()
        self.most = dict(self.first)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _now(self) -> dict[str, float]:
        return {
            name: sum(
                each.memory_info().rss for each in (process, *process.children(recursive=True))
            )
            / _MIB
            for name, process in self._processes.items()
        }

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            for name, mib in self._now().items():
                self.most[name] = max(self.most[name], mib)


def ask(url: str, count: int, pause_s: float, start: int) -> list[float]:
    """Latencies in ms of single requests of 8 tokens, one after the other."""
    found = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        for number in range(start, start + count):
            began_s = time.perf_counter()
            body = {
                "model": "tiny", "input": f"question {number}", "cache": False,
                "parameters": {"max_tokens": 8},
            }  # fmt: skip
            answer = http.post("/api/v1/jobs", json=body, headers={"Prefer": "wait=60"})
            assert answer.json()["status"] == "completed", answer.text
            found.append((time.perf_counter() - began_s) * 1000)
            time.sleep(pause_s)
    return found


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` of the others are below."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    lab = Lab(
        folder, workers=asked.workers, token_s=asked.token_s, SLOTS=str(asked.slots),
    ).start()  # fmt: skip
    feeder = WorkerProcess(lab.environment, folder / "logs", module="producer.feeder.app").start()
    url = lab.fronts[0].url
    file = folder / "in.jsonl"
    with file.open("w") as lines:
        for number in range(asked.lines):
            line = chat_line(f"n{number}", f"text {number}", max_tokens=4, temperature=0)
            lines.write(json.dumps(line) + "\n")
    redis: Any = lab.redis.client()
    try:
        ask(url, 30, 0.01, 0)
        alone = ask(url, asked.requests, 0.05, 1000)
        pids = {"feeder": feeder.pid, "front": lab.fronts[0].pid}
        with Client(url) as client, Memory(pids) as memory:
            redis_before = redis.info("memory")["used_memory"] / _MIB
            began_s = time.monotonic()
            batch = client.batches.create(client.batches.upload(file)).id
            while not (now := client.batches.get(batch)).completed:
                time.sleep(0.2)
            beside: list[float] = []
            redis_most = 0.0
            while not (now := client.batches.get(batch)).ended:
                beside += ask(url, 20, 0.05, 10_000 + len(beside))
                redis_most = max(redis_most, redis.info("memory")["used_memory"] / _MIB)
            took_s = time.monotonic() - began_s
    finally:
        feeder.kill()
        lab.stop()
    return {
        "machine": machine(),
        "lines": asked.lines,
        "status": now.status,
        "completed": now.completed,
        "lines_per_s": now.completed / took_s,
        "requests": {"alone": len(alone), "beside": len(beside)},
        "p50_ms": {"alone": percentile(alone, 50), "beside": percentile(beside, 50)},
        "p99_ms": {"alone": percentile(alone, 99), "beside": percentile(beside, 99)},
        "memory_mib": {
            **{name: [memory.first[name], memory.most[name]] for name in pids},
            "redis": [redis_before, redis_most],
        },
    }


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--token-s", type=float, default=0.02)
    parser.add_argument("--save", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), asked)
    text = json.dumps(found, indent=2)
    if asked.save:
        asked.save.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
