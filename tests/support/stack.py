"""The whole of Millrace as ``millrace up`` starts it, with a tiny real model."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from contract.settings import Settings
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.redis_server import free_port
from tests.support.service import Service
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


class Stack(Service):
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
        settings = Settings.from_mapping(self.environment)
        super().__init__(settings, [settings.url])
        models = ModelStore(settings.models_dir)
        if "tiny" not in models.names():
            write_tiny_llama(models)
        self.folder = folder
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

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
        eventually(self._started, timeout_s=90, every_s=0.1)
        return self

    def _started(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "up.out").read_text()[-3000:]
        return self.is_ready(self._workers)

    def stop(self) -> None:
        """Ctrl-C, and wait until all is gone."""
        self.close()
        if self._process is not None and self._process.poll() is None:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=60)
            finally:
                for child in children:
                    if child.is_running():
                        child.kill()

    def redis_pid(self) -> int:
        """The process id of the embedded Valkey."""
        info: Any = self.store.connection.redis.info("server")
        return int(info["process_id"])
