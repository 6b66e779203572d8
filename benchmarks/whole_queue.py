"""The whole of Millrace on ports of its own, asked by as many clients as there are requests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import httpx

from benchmarks.bare_engine import Round
from benchmarks.workloads import Item

_START_S = 120


class QueueUnderTest:
    """``millrace up`` with one worker; a context manager."""

    def __init__(self, folder: Path, models_dir: Path, model: str) -> None:
        self._model = model
        self._port = _free_port()
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
            "MILLRACE_DATA_DIR": str(folder),
            "MILLRACE_MODELS_DIR": str(models_dir.resolve()),
            "MILLRACE_MODEL": model,
            "MILLRACE_PORT": str(self._port),
            "MILLRACE_REDIS_PORT": str(_free_port()),
        }
        self._log = folder / "up.out"

    def __enter__(self) -> "QueueUnderTest":
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace", "up", "--no-flower"],
                env=self._environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}",
            timeout=120,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        end = time.monotonic() + _START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"millrace up did not start:\n{self._log.read_text()}")
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

    def _ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def run_round(self, items: Sequence[Item]) -> Round:
        """Submit all ``items`` at once and wait for all answers."""
        started_s = time.perf_counter()
        with ThreadPoolExecutor(len(items)) as clients:
            usages = list(clients.map(self._ask, items))
        return Round(
            seconds=time.perf_counter() - started_s,
            prompt_tokens=sum(usage["prompt_tokens"] for usage in usages),
            completion_tokens=sum(usage["completion_tokens"] for usage in usages),
        )

    def _ask(self, item: Item) -> dict[str, int]:
        answer = self._http.post(
            "/api/v1/jobs",
            json={
                "model": self._model, "task": "generate", "input": item.text,
                "parameters": item.parameters, "cache": False,
            },
            headers={"Prefer": "wait=60"},
        )  # fmt: skip
        job = answer.raise_for_status().json()
        while job["status"] not in ("completed", "failed"):
            job = self._http.get(f"/api/v1/jobs/{job['id']}", params={"wait": 60}).json()
        if job["status"] != "completed":
            raise RuntimeError(f"job {job['id']} failed: {job['error']}")
        usage: dict[str, int] = job["usage"]
        return usage


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
