"""A server process of a benchmark: started, waited for, stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_START_S = 180
_STOP_S = 60


class Server:
    """A process in a session of its own, whose output goes to ``log``."""

    def __init__(
        self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        self._log = log
        self._name = Path(command[0]).name
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(command), env={**plain, **(environ or {})}, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` says so. Raises RuntimeError with the end of its log."""
        end = time.monotonic() + _START_S
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                said = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self._name} did not start:\n{said}")
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """The process and its children."""
        if self._process.poll() is not None:
            return []
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [self._process.pid, *(child.pid for child in children)]

    def stop(self) -> None:
        """Ctrl-C; kill what does not go."""
        if self._process.poll() is not None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            if child.is_running():
                child.kill()
