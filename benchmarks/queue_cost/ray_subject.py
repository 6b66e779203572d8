"""Ray Serve's asynchronous inference, as a subject; its venv, and how that is made."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks.queue_cost.figures import in_ms
from benchmarks.queue_cost.http_bursts import CONNECTIONS, SUBMITTERS, on_lines
from benchmarks.queue_cost.http_line import Line
from benchmarks.queue_cost.stack import tree_cpu_s
from benchmarks.queue_cost.subjects import SLOTS, Work, choose, each_timed, timed
from tests.support.redis_server import RedisServer, free_port
from tests.support.worker_process import ROOT

VENV = ROOT / ".millrace" / "bench" / "ray-venv"
_PACKAGES = ("ray[serve-async-inference]", "celery[redis]")
_COUNTS = (4, SLOTS)
_WARM_UP = 100
_PAUSE_S = 0.002
_PATIENCE_S = 120.0
_ADAPTER, _HTTP = "Ray Serve, adapter", "Ray Serve, HTTP"


def install() -> None:
    """Make the venv. It takes some hundreds of MB, and nothing of Millrace is in it."""
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(VENV / "bin" / "pip"), "install", *_PACKAGES], check=True)


class RayServe:
    """One task consumer and one ingress, on Ray's Celery adapter and the same kind of Redis."""

    def __init__(self) -> None:
        self._count: int | None = None

    @property
    def missing(self) -> str:
        """Whether the venv has Ray."""
        return "" if (VENV / "bin" / "ray").exists() else "not installed"

    @property
    def version(self) -> str:
        """Of Ray, and of the Celery below it."""
        ask = "import celery, ray; print(f'{ray.__version__} with celery {celery.__version__}')"
        told = subprocess.run([_python(), "-c", ask], capture_output=True, text=True, check=True)
        return told.stdout.strip()

    def turn(self, folder: Path, work: Work) -> Mapping[str, Mapping[str, float]]:
        """Bursts and single jobs through the adapter and through HTTP."""
        if self._count is None:
            self._count = choose(_COUNTS, lambda count: self._trial(folder, work, count))
        with _Running(folder / "no-op", work.fsync, self._count) as peer:
            found = _figures(peer, work.jobs, "no-op", 0.0)
            submits = peer.burst_http(work.singles, 0.0, SUBMITTERS)
            single = each_timed(work.singles, lambda _: peer.one())
            found[_HTTP] |= {
                "submit p50": in_ms(submits, 0.5), "submit p99": in_ms(submits, 0.99),
                "result p50": in_ms(single, 0.5), "count": self._count,
            }  # fmt: skip
        with _Running(folder / "50-ms", work.fsync, SLOTS) as peer:
            sleeping = _figures(peer, work.jobs, "50 ms", 0.05)
        return {way: {**sleeping[way], **found[way]} for way in found}

    def _trial(self, folder: Path, work: Work, count: int) -> float:
        with _Running(folder / f"trial-{count}", work.fsync, count) as peer:
            return timed(work.jobs // 4, lambda: peer.burst(work.jobs // 4, 0.0), dict).per_s


def _figures(
    peer: "_Running", jobs: int, measure: str, seconds: float
) -> dict[str, dict[str, float]]:
    return {
        _ADAPTER: timed(jobs, lambda: peer.burst(jobs, seconds), peer.cpu_s).figures(measure),
        _HTTP: timed(jobs, lambda: peer.burst_http(jobs, seconds), peer.cpu_s).figures(measure),
    }


class _Running:
    """Redis, and Ray with a task consumer that works on so many tasks at a time."""

    def __init__(self, folder: Path, fsync: str, count: int) -> None:
        self._redis = RedisServer(folder / "redis", fsync)
        self._port = free_port()
        self._log = folder / "ray.log"
        self._command = [
            _python(), "-m", "benchmarks.queue_cost.ray_script", self._redis.url, str(self._port),
            str(count),
        ]  # fmt: skip

    def __enter__(self) -> "_Running":
        self._redis.start()
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._answer()
        self.burst(_WARM_UP, 0.0)
        self.burst_http(_WARM_UP, 0.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        family = psutil.Process(self._process.pid).children(recursive=True)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._redis.kill()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of Ray, whose driver is the client of the adapter, and of Redis."""
        return {"ray": tree_cpu_s(self._process.pid), "redis": tree_cpu_s(self._redis.pid)}

    def burst(self, jobs: int, seconds: float) -> list[float]:
        """Through the adapter; the seconds of each submit."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jobs": jobs, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        submits_s: list[float] = self._answer()["submits_s"]
        return submits_s

    def burst_http(self, jobs: int, seconds: float, connections: int = CONNECTIONS) -> list[float]:
        """Through the ingress, over so many connections; the seconds of each submit."""
        return asyncio.run(self._burst_http(jobs, seconds, connections))

    async def _burst_http(self, jobs: int, seconds: float, connections: int) -> list[float]:
        taken_s: list[float] = []
        ids: list[str] = []

        async def ask(line: Line, number: int) -> None:
            started_s = time.perf_counter()
            task = await line.ask("POST", "/", {"number": number, "seconds": seconds})
            taken_s.append(time.perf_counter() - started_s)
            ids.append(task["id"])

        async def read(line: Line, task_id: str) -> None:
            await _success(line, task_id)

        url = f"http://127.0.0.1:{self._port}"
        await on_lines(url, connections, range(jobs), ask)
        await on_lines(url, connections, ids, read)
        return taken_s

    def one(self) -> None:
        """One job through HTTP, to its result."""
        self.burst_http(1, 0.0)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Ray ended:\n{self._log.read_text()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def _success(line: Line, task_id: str) -> None:
    due_s = time.monotonic() + _PATIENCE_S
    while True:
        status = (await line.ask("GET", f"/?id={task_id}"))["status"]
        if status == "SUCCESS":
            return
        if status == "FAILURE" or time.monotonic() > due_s:
            raise RuntimeError(f"task {task_id} is {status}")
        await asyncio.sleep(_PAUSE_S)


def _python() -> str:
    return str(VENV / "bin" / "python")
