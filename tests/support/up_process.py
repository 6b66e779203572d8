"""``millrace up`` as a user starts it, in a folder and on ports of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support.redis_server import free_port
from tests.support.waiting import eventually


class UpProcess:
    """One ``millrace up``; its output goes to a file that tests can read while it runs."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        models: Path,
        model: str = "tiny",
        environ: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.output = folder / f"up-{free_port()}.txt"
        self.ports = {name: free_port() for name in ("PORT", "FLOWER_PORT", "REDIS_PORT")}
        kept = {name: text for name, text in os.environ.items() if not name.startswith("MILLRACE")}
        self.environ = {
            **kept,
            **{f"MILLRACE_{name}": str(port) for name, port in self.ports.items()},
            "MILLRACE_DATA_DIR": str(folder / "data"),
            "MILLRACE_MODELS_DIR": str(models),
            "MILLRACE_MODEL": model,
            **(environ or {}),
        }
        self.command = (*prefix, sys.executable, "-m", "millrace", "up", *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environ['MILLRACE_PORT']}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> "UpProcess":
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                self.command,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                # As from a terminal, even when the tests themselves run under nohup.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
        return self

    def text(self) -> str:
        return self.output.read_text()

    def until(self, words: str, timeout_s: float = 60.0) -> "UpProcess":
        """Wait until it has said ``words``; fail with all it said if it ends before."""

        def said() -> bool:
            ended = self.process.poll() is not None
            if words in self.text():
                return True
            assert not ended, f"ended with {self.process.returncode}:\n{self.text()}"
            return False

        eventually(said, timeout_s=timeout_s, every_s=0.05)
        return self

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout=timeout_s)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def pid_of(self, words: str) -> int:
        """The eldest living process of this run with ``words`` in its command line."""
        return min(p.pid for p in self.survivors() if words in " ".join(_command_of(p)))

    def survivors(self) -> list[psutil.Process]:
        """Every living process of this run.

        All carry its data folder in their environment, except Valkey, which writes its title
        over that: it is known by its address.
        """
        mine = self.environ["MILLRACE_DATA_DIR"]
        address = f"127.0.0.1:{self.environ['MILLRACE_REDIS_PORT']}"
        return [
            each
            for each in psutil.process_iter()
            if _data_folder_of(each) == mine or address in " ".join(_command_of(each))
        ]

    def listening(self) -> list[str]:
        """Its ports on which something listens."""
        taken = {
            each.laddr[1]
            for each in psutil.net_connections(kind="tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr
        }
        return [name for name, port in self.ports.items() if port in taken]

    def assert_gone(self) -> None:
        """Nothing of it is left. A process that ends is seen no more before its ports are free."""
        eventually(lambda: not self.survivors() and not self.listening(), timeout_s=10)

    def end(self) -> None:
        """Make sure that nothing stays behind, whatever the test did."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for each in self.survivors():
            each.kill()


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _data_folder_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get("MILLRACE_DATA_DIR")
    except psutil.Error:
        return None
