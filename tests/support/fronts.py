"""The HTTP front as a test needs it: in this process, or as the server that users run."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import psutil
from flask import Flask

from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import JobStore
from model_store.store import ModelStore
from producer.app import create_app
from producer.token_counter import TokenCounter
from producer.wakeups import EventHub
from tests.support.redis_server import free_port
from tests.support.waiting import eventually

_CONFIG = ("--config", "python:producer.gunicorn_config")
COMMAND = (sys.executable, "-m", "gunicorn", *_CONFIG, "producer.wsgi:app")


class LocalFront:
    """The application in this process, with threads where the server has greenlets."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = JobStore.connect(settings)
        self.hub = EventHub(self.store)
        self.counter = TokenCounter()
        self.app: Flask = create_app(
            settings=settings,
            store=self.store,
            models=ModelStore(settings.models_dir),
            hints=HintPublisher(settings),
            counter=self.counter,
            hub=self.hub,
        )

    def close(self) -> None:
        """End its threads and its helper."""
        self.hub.close()
        self.counter.close()


class FrontServer:
    """gunicorn with gevent on a free port, as `millrace api` starts it."""

    def __init__(
        self, environ: Mapping[str, str], log: Path, command: Sequence[str] = COMMAND
    ) -> None:
        self.port = free_port()
        self.log = log
        self._command = command
        self._environ = {
            **{name: value for name, value in os.environ.items() if "MILLRACE" not in name},
            **environ,
            "MILLRACE_PORT": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> httpx.Client:
        """A client that goes straight to the server."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "FrontServer":
        """Start, and return when it answers."""
        self.launch()
        eventually(self.answers, timeout_s=30)
        return self

    def launch(self) -> None:
        """Start; it answers some moments later."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log
            )

    def answers(self) -> bool:
        """Whether it serves."""
        with contextlib.suppress(httpx.TransportError), self.client() as client:
            return client.get("/healthz").is_success
        return False

    def kill(self) -> None:
        """kill -9 of the master and all that it has forked, if it lives."""
        process = self._process  # another may be launched as soon as this one is gone
        assert process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            master = psutil.Process(process.pid)
            for each in (master, *master.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait(timeout=20)

    def stop(self) -> int:
        """Tell it to stop; its exit status."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.terminate()
        return process.wait(timeout=20)
