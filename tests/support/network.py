"""Two hosts with a cable between them that can be cut, made of network namespaces.

All traffic stays in namespaces that are made here. It takes root and the command ``ip``.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

HERE, THERE = "10.77.0.1", "10.77.0.2"
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def is_possible() -> bool:
    """Whether this machine lets us make hosts."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    probe = f"mr-probe-{os.getpid()}"  # several processes of one test run ask at once
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return made.returncode == 0


class Hosts:
    """``here``, where the test goes on within the block, and ``there``; a switch joins them.

    A cut is one of silence: what either side sends is dropped, and no socket learns of it.
    """

    def __init__(self) -> None:
        self._here, self._there, self._switch = (f"mr-{os.getpid()}-{n}" for n in range(3))

    def __enter__(self) -> "Hosts":
        try:
            for host in (self._here, self._there, self._switch):
                _ip("netns", "add", host)
            self._in(self._switch, "link", "add", "hub", "type", "bridge")
            self._in(self._switch, "link", "set", "hub", "up")
            for host, cable, address in (
                (self._here, "cable-a", HERE),
                (self._there, "cable-b", THERE),
            ):
                self._in(self._switch, "link", "add", cable, "type", "veth", "peer", "name", "eth0",
                         "netns", host)  # fmt: skip
                self._in(self._switch, "link", "set", cable, "master", "hub", "up")
                self._in(host, "address", "add", f"{address}/24", "dev", "eth0")
                self._in(host, "link", "set", "eth0", "up")
                self._in(host, "link", "set", "lo", "up")
            self._inside = _moved_to(self._here)
            self._inside.__enter__()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside.__exit__(kind, error, trace)
        self._remove()

    @property
    def there(self) -> list[str]:
        """The words that start a command on the other host."""
        return ["ip", "netns", "exec", self._there]

    def cut(self) -> None:
        """Drop everything between the hosts from now on."""
        self._in(self._switch, "link", "set", "cable-b", "nomaster")

    def mend(self) -> None:
        """Join them again."""
        self._in(self._switch, "link", "set", "cable-b", "master", "hub")

    def _in(self, host: str, *words: str) -> None:
        _ip("-n", host, *words)

    def _remove(self) -> None:
        for host in (self._here, self._there, self._switch):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", host)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def _moved_to(host: str) -> Iterator[None]:
    """Let this thread, and the threads and processes that it starts, be on that host."""
    with open("/proc/thread-self/ns/net", "rb") as before:
        with Path("/var/run/netns", host).open("rb") as after:
            _set_network(after.fileno())
        try:
            yield
        finally:
            _set_network(before.fileno())


def _set_network(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
