"""Millrace as users start it, with a worker whose engine costs nothing."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from contract.queues import queue_name
from contract.settings import Settings
from contract.store import JobStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.fronts import FrontServer
from tests.support.redis_server import RedisServer
from tests.support.worker_process import WorkerProcess

MODEL = "tiny"


class Stack:
    """Redis, a front and a worker, each a process; a context manager.

    Args:
        fsync: when Redis writes to disk.
        settings: ``MILLRACE_`` settings of front and worker, without the prefix.
        token_s: an engine that takes so long for a token, in place of a handler.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: str = "always",
        settings: Mapping[str, str] | None = None,
        token_s: float | None = None,
    ) -> None:
        self.redis = RedisServer(folder / "redis", fsync)
        self.environment = {
            "MILLRACE_REDIS_URL": self.redis.url,
            "MILLRACE_DATA_DIR": str(folder),
            "MILLRACE_MODEL": MODEL,
            **{f"MILLRACE_{name}": value for name, value in (settings or {}).items()},
        }
        self.settings = Settings.from_mapping(self.environment)
        models = ModelStore(folder / "models")
        write_tiny_llama(models)
        self.version = models.resolve(MODEL)
        self.queue = queue_name(self.version.name, self.version.digest)
        self.store = JobStore.connect(self.settings)
        self.front = FrontServer(self.environment, folder / "front.log")
        engine = {} if token_s is None else {"QUEUE_COST_TOKEN_S": str(token_s)}
        self.worker = WorkerProcess(
            {**self.environment, **engine},
            folder / "logs",
            module="benchmarks.queue_cost.worker",
        )

    @property
    def url(self) -> str:
        """Of the front."""
        return self.front.url

    def __enter__(self) -> "Stack":
        self.redis.start()
        self.worker.start()
        self.front.start()
        self.worker.registered(self.store)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.worker.kill()
        self.front.kill()
        self.redis.kill()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each part has taken so far."""
        return {
            "front": tree_cpu_s(self.front.pid),
            "worker": tree_cpu_s(self.worker.pid),
            "redis": tree_cpu_s(self.redis.pid),
        }

    def front_bytes(self) -> int:
        """Resident memory of the front's processes."""
        return sum(process.memory_info().rss for process in _tree(self.front.pid))

    def body(self, text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a client posts for a job."""
        return {
            "model": MODEL, "task": "generate", "input": text, "parameters": dict(parameters)
        }  # fmt: skip


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those that it has started, dead ones included."""
    total = 0.0
    for process in _tree(pid):
        times = process.cpu_times()
        total += times.user + times.system
        if process.pid == pid:
            total += times.children_user + times.children_system
    return total


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]
