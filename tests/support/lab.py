"""Millrace from its parts, each a process that a test may harm: Redis, fronts, workers."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contract import keys
from contract.settings import Settings
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.fronts import COMMAND, FrontServer
from tests.support.redis_server import RedisServer
from tests.support.service import Service
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess


class Lab(Service):
    """One Redis, ``fronts`` fronts and ``workers`` workers.

    While ``reviving`` is set, as it is at first, a front or worker that dies is started again at
    once, the front on its old port. Redis is the test's to start again.

    Args:
        token_s: a simulated engine that takes so long for a token; None: the tiny real model.
        lab: the ``LAB_`` entries of the workers and fronts (tests/support/lab_worker.py,
            lab_front.py).
        front_command: starts a front; tests.support.lab_front has one for faults.
        prefix: words before the command of a worker that is given none of its own.
        settings: ``MILLRACE_`` settings of all processes, without the prefix.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        fronts: int = 1,
        token_s: float | None = None,
        lab: Mapping[str, str] | None = None,
        redis: RedisServer | None = None,
        front_command: Sequence[str] = COMMAND,
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.folder = folder
        self.redis = redis or RedisServer(folder / "redis")
        self.environment = {
            "MILLRACE_REDIS_URL": self.redis.url,
            "MILLRACE_DATA_DIR": str(folder),
            "MILLRACE_MODEL": "tiny",
            "MILLRACE_THREADS": "1",
            "MILLRACE_SLOTS": "16",
            **{f"MILLRACE_{name}": value for name, value in settings.items()},
        }
        self.prefix = list(prefix)
        self.lab = dict(lab or {})
        if token_s is not None:
            self.lab["LAB_TOKEN_S"] = str(token_s)
        models = ModelStore(folder / "models")
        if "tiny" not in models.names():
            write_tiny_llama(models)
        self.fronts = [
            FrontServer({**self.environment, **self.lab}, folder / f"front-{n}.log", front_command)
            for n in range(fronts)
        ]
        super().__init__(
            Settings.from_mapping(self.environment), [front.url for front in self.fronts]
        )
        self._count = workers
        self.workers: list[WorkerProcess] = []
        self.exits: list[int] = []
        """The exit statuses of workers that died, negative for signals."""
        self.reviving = threading.Event()
        self.reviving.set()
        self._stopped = threading.Event()
        self._nurse = threading.Thread(target=self._revive, name="nurse", daemon=True)

    def start(self) -> "Lab":
        """Start everything; returns when the front is ready and every worker registered."""
        self.redis.start()
        for front in self.fronts:
            front.launch()
        self.workers = [self.add_worker() for _ in range(self._count)]
        eventually(lambda: all(front.answers() for front in self.fronts), timeout_s=60)
        eventually(lambda: self.is_ready(self._count), timeout_s=90, every_s=0.1)
        self._nurse.start()
        return self

    def add_worker(
        self, lab: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **settings: str
    ) -> WorkerProcess:
        """Start one more worker, not in ``workers``; settings are without their prefix."""
        changes = {f"MILLRACE_{name}": value for name, value in settings.items()}
        worker = WorkerProcess(
            {**self.environment, **changes, **self.lab, **(lab or {})},
            self.folder / "logs",
            module="tests.support.lab_worker",
            prefix=prefix or self.prefix,
        )
        return worker.start()

    def stop(self) -> None:
        """Kill everything."""
        self._stopped.set()
        if self._nurse.is_alive():
            self._nurse.join()
        self.close()
        for worker in self.workers:
            worker.kill()
        for front in self.fronts:
            front.kill()
        self.redis.kill()

    def forget_records(self) -> None:
        """Let the retention of every ended job pass now."""
        redis: Any = self.redis.client()
        while batch := redis.zrangebyscore(keys.EXPIRING(), 1, "+inf", start=0, num=1000):
            redis.zadd(keys.EXPIRING(), dict.fromkeys(batch, 0))
        redis.close()

    def _revive(self) -> None:
        while not self._stopped.wait(0.05):
            if not self.reviving.is_set():
                continue
            for number, worker in enumerate(self.workers):
                if not worker.alive:
                    self.exits.append(worker.wait())
                    self.workers[number] = self.add_worker()
            for front in self.fronts:
                if not front.alive:
                    front.launch()
