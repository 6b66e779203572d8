"""How far one Redis carries: ``python -m benchmarks.scaling [calls] [fleet] [waiting]``.

calls    what each call of a job's life costs Redis
fleet    workers whose engines are simulated, from one to a hundred, on one Redis
waiting  calls with no job waiting and with a million, and the memory of each job
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import scaling_calls, scaling_fleet, scaling_waiting
from benchmarks.queue_cost.__main__ import machine
from benchmarks.scaling_fleet import Shape
from contract.logs import configure_logs
from tests.support.redis_server import RedisServer

_PARTS = ("calls", "fleet", "waiting")


class Run:
    """One run: its options, what it says, what it found."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self._asked = asked
        self._folder = folder
        self.found: dict[str, Any] = {"machine": {**machine(), "fsync": asked.fsync}}

    def say(self, *lines: str) -> None:
        """Print, where JSON is not in the way."""
        out = sys.stderr if self._asked.json else sys.stdout
        print(*lines, sep="\n", file=out, flush=True)

    def calls(self) -> None:
        """What each call costs."""
        server = RedisServer(self._folder / "calls", self._asked.fsync).start()
        workers = max(self._asked.workers)
        bench = scaling_calls.Bench(
            server.client(), server.url, workers=max(workers, 32), slots=self._asked.slots
        )
        try:
            costs = bench.run()
        finally:
            bench.close()
            server.kill()
        shape = self._shape()
        whole_us = scaling_calls.of_a_job(
            costs, tokens=shape.tokens, seconds=shape.job_s, slots=shape.slots
        )
        self.say(*scaling_calls.table(costs))
        self.say(
            f"a job of {shape.tokens} tokens: {whole_us:.0f} us of a busy Redis, or"
            f" {1e6 / whole_us:.0f} jobs/s of a core"
        )
        self.found["calls"] = [dataclasses.asdict(cost) for cost in costs]
        self.found["job_us"] = whole_us

    def fleet(self) -> None:
        """Throughput by workers. Each point has a Redis of its own."""
        points, shape = [], self._shape()
        for workers in self._asked.workers:
            server = RedisServer(self._folder / f"fleet-{workers}", self._asked.fsync).start()
            try:
                point = scaling_fleet.measure(
                    server.client(), server.url,
                    workers=workers, processes=self._asked.processes, shape=shape,
                )  # fmt: skip
            finally:
                server.kill()
            points.append(point)
            self.say(f"  {workers} workers: {point.per_s:.2f} jobs/s")
        self.say(*scaling_fleet.table(points, shape))
        self.found["fleet"] = [dataclasses.asdict(point) for point in points]
        self.found["shape"] = dataclasses.asdict(shape)

    def waiting(self) -> None:
        """Calls on an empty Redis and on a full one, by turns."""
        empty = scaling_waiting.Site(self._folder / "empty", self._asked.fsync)
        full = scaling_waiting.Site(self._folder / "full", self._asked.fsync)
        with empty, full:
            empty.fill(1000, 60)  # what is claimed
            backlog = full.fill(self._asked.waiting, self._asked.fill_s)
            for site in (empty, full):
                site.open()
            latencies = scaling_waiting.compare(empty, full)
        self.say(*scaling_waiting.table(backlog, latencies))
        self.found["waiting"] = dataclasses.asdict(backlog)
        self.found["latencies"] = [dataclasses.asdict(each) for each in latencies]

    def _shape(self) -> Shape:
        return Shape(
            slots=self._asked.slots, tokens=self._asked.tokens, token_s=self._asked.token_s,
            waves=self._asked.waves,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and save when asked."""
    asked = _arguments(arguments)
    configure_logs("error", "console")
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        run = Run(asked, Path(folder))
        run.say(json.dumps(run.found["machine"]))
        for part in asked.parts or _PARTS:
            run.say("", f"{part}:")
            getattr(run, part)()
    if asked.json:
        print(json.dumps(run.found, indent=2))
    if asked.save:
        asked.save.mkdir(parents=True, exist_ok=True)
        cores = run.found["machine"]["cores"]
        path = asked.save / f"scaling-{cores}-cores-{asked.fsync}.json"
        path.write_text(json.dumps(run.found, indent=2) + "\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2, 10, 25, 50, 100], metavar="N"
    )
    parser.add_argument("--processes", type=int, default=4, help="of the fleet, at most")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--token-s", type=float, default=0.2)
    parser.add_argument("--waves", type=int, default=3, help="jobs of each slot that are counted")
    parser.add_argument("--waiting", type=int, default=1_000_000, metavar="JOBS")
    parser.add_argument("--fill-s", type=float, default=420.0, help="most seconds to submit them")
    parser.add_argument("--fsync", choices=("always", "everysec", "no"), default="always")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path, metavar="FOLDER")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(_PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    return asked


if __name__ == "__main__":
    main()
