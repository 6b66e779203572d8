"""Submits while thousands of streams are open on the same front.

``python -m benchmarks.queue_cost.open_streams URL`` is the process that holds the streams.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.queue_cost.figures import in_ms
from benchmarks.queue_cost.http_bursts import JOBS, Body, on_lines
from benchmarks.queue_cost.http_line import Line
from benchmarks.queue_cost.millrace_subject import DEFAULTS
from benchmarks.queue_cost.stack import Stack
from tests.support.worker_process import ROOT

STREAMS = 2000
PER_S = 100
SECONDS = 10.0
_CONNECTIONS = 8
_TOKEN_S = 0.03
_OPENING_AT_ONCE = 50
_TOKEN = re.compile(rb"event: token\n")


def measure(folder: Path, settings: Mapping[str, str], *, streams: int = STREAMS) -> dict[str, Any]:
    """Submit at a steady rate, first with no stream open, then with so many.

    Each stream follows a job of its own; as many as there are slots run, and make a token each
    30 ms.
    """
    with Stack(folder, settings={**DEFAULTS, **settings}, token_s=_TOKEN_S) as stack:
        short = {"max_tokens": 1}
        asyncio.run(steady(stack.url, stack.body("warm-up", short), PER_S, 2.0))
        before = asyncio.run(steady(stack.url, stack.body("before", short), PER_S, SECONDS))
        ids = asyncio.run(_submit(stack, streams))
        bytes_before = stack.front_bytes()
        with _Holder(stack.url) as holder:
            opened_s = holder.open(ids)
            during = asyncio.run(steady(stack.url, stack.body("during", short), PER_S, SECONDS))
            bytes_after = stack.front_bytes()
            held = holder.end()
    return {
        "streams": streams,
        "open at the end": held["open"],
        "opened in s": opened_s,
        "token events": held["tokens"],
        "submits per s": PER_S,
        "p50 without": in_ms(before, 0.5),
        "p99 without": in_ms(before, 0.99),
        "p50 with": in_ms(during, 0.5),
        "p99 with": in_ms(during, 0.99),
        "most with": in_ms(during, 1.0),
        "KB a stream": (bytes_after - bytes_before) / streams / 1024,
    }


async def steady(url: str, body: Body, per_s: float, seconds: float) -> list[float]:
    """Submit at a steady rate, whatever the answers take; the seconds of each submit.

    A submit whose connection is still busy is late, and its wait counts.
    """
    taken_s: list[float] = []
    begun_s = time.perf_counter()

    async def connection(first: int) -> None:
        line = await Line.open(url)
        for number in range(first, int(per_s * seconds), _CONNECTIONS):
            due_s = begun_s + number / per_s
            await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            asked_s = max(due_s, min(time.perf_counter(), due_s + 0.002))  # a timer is not exact
            await line.ask("POST", JOBS, {**body, "input": f"{body['input']} {number}"})
            taken_s.append(time.perf_counter() - asked_s)
        line.close()

    await asyncio.gather(*(connection(n) for n in range(_CONNECTIONS)))
    return taken_s


async def _submit(stack: Stack, count: int) -> list[str]:
    ids: list[str] = []
    long = {"max_tokens": int(60 / _TOKEN_S)}

    async def ask(line: Line, number: int) -> None:
        ids.append((await line.ask("POST", JOBS, stack.body(f"stream {number}", long)))["id"])

    await on_lines(stack.url, 16, range(count), ask)
    return ids


class _Holder:
    """The other process, so that reading streams does not delay what is measured here."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.queue_cost.open_streams", url],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> "_Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def open(self, ids: list[str]) -> float:
        """Open a stream for each; returns the seconds that it took until all had an event."""
        seconds: float = self._ask(ids)["seconds"]
        return seconds

    def end(self) -> dict[str, int]:
        """How many streams are open still, and how many tokens have come."""
        tally: dict[str, int] = self._ask("end")
        return tally

    def _ask(self, what: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(what) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


async def hold(url: str) -> None:
    """Hold streams open for whoever is at the standard input."""
    loop = asyncio.get_running_loop()
    tally = {"open": 0, "tokens": 0}
    turns = asyncio.Semaphore(_OPENING_AT_ONCE)
    readers = []

    async def read(line: Line) -> None:
        while found := await line.some():
            tally["tokens"] += len(_TOKEN.findall(found))
        tally["open"] -= 1

    async def follow(job_id: str) -> None:
        async with turns:
            line = await Line.open(url)
            await line.follow(f"{JOBS}/{job_id}/events", b"event: status\n")
            tally["open"] += 1
        readers.append(asyncio.create_task(read(line)))

    ids = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    begun_s = time.perf_counter()
    await asyncio.gather(*(follow(job_id) for job_id in ids))
    print(json.dumps({"seconds": time.perf_counter() - begun_s}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    print(json.dumps(tally), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(hold(sys.argv[1]))
