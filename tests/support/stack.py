"""The whole of Millrace as ``millrace up`` starts it, with a tiny real model."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from contract import keys
from contract.settings import Settings
from contract.store import JobStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.redis_server import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = {"completed", "failed", "cancelled", "expired"}


class Stack:
    """``millrace up``: Valkey, the front and workers, each restarted when it dies."""

    def __init__(self, folder: Path, *, workers: int, **changes: str) -> None:
        self.environment = {
            "MILLRACE_DATA_DIR": str(folder),
            "MILLRACE_MODEL": "tiny",
            "MILLRACE_PORT": str(free_port()),
            "MILLRACE_REDIS_PORT": str(free_port()),
            "MILLRACE_THREADS": "1",
            **changes,
        }
        self.settings = Settings.from_mapping(self.environment)
        self.models = ModelStore(self.settings.models_dir)
        if "tiny" not in self.models.names():
            write_tiny_llama(self.models)
        self.folder = folder
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self.store = JobStore.connect(self.settings)
        self.http = httpx.Client(
            base_url=self.settings.url,
            timeout=30,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
        )

    def start(self) -> "Stack":
        """Start, and return when the front is ready and every worker registered."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        command = [sys.executable, "-m", "millrace", "up", "--no-flower"]
        with (self.folder / "up.out").open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "--workers", str(self._workers)],
                cwd=ROOT, env={**plain, **self.environment}, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        eventually(self._ready, timeout_s=90, every_s=0.1)
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "up.out").read_text()[-3000:]
        try:
            answer = self.http.get("/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and len(self.worker_rows()) == self._workers

    def stop(self) -> None:
        """Ctrl-C, and wait until all is gone."""
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=60)
            finally:
                for child in children:
                    if child.is_running():
                        child.kill()

    def worker_rows(self) -> list[dict[str, Any]]:
        """What ``GET /api/v1/workers`` lists."""
        rows: list[dict[str, Any]] = self.http.get("/api/v1/workers").json()["data"]
        return rows

    def redis_pid(self) -> int:
        """The process id of the embedded Valkey."""
        info: Any = self.store.connection.redis.info("server")
        return int(info["process_id"])

    def running_on(self, worker: str) -> set[str]:
        """The jobs that a worker holds now."""
        held: Any = self.store.connection.redis.smembers(keys.RUNNING(worker))
        return set(held)

    def submit(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Submit until there is a 202, as a client does that must not lose its job."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}

        def accepted() -> dict[str, Any] | None:
            try:
                answer = self.http.post("/api/v1/jobs", json=dict(body), headers=headers)
            except httpx.TransportError:
                return None
            if answer.status_code in (429, 503):
                return None
            assert answer.status_code == 202, answer.text
            job: dict[str, Any] = answer.json()
            return job

        job = eventually(accepted, timeout_s=60, every_s=0.05)
        assert job is not None
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the front shows it."""
        answer = self.http.get(f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finished(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """The job, once it has ended."""

        def ended() -> dict[str, Any] | None:
            try:
                job = self.job(job_id)
            except httpx.TransportError:
                return None
            return job if job["status"] in TERMINAL else None

        job = eventually(ended, timeout_s)
        assert job is not None
        return job


def prompt(text: str, max_tokens: int = 64, **fields: Any) -> dict[str, Any]:
    """The body of a greedy job."""
    return {
        "model": "tiny", "task": "generate", "input": text,
        "parameters": {"max_tokens": max_tokens}, **fields,
    }  # fmt: skip
