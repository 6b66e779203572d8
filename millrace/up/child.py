"""One child process: how it is started, asked to stop, and ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from millrace.up import guard

_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run and how it ends.

    ``stop_s`` is the time it gets after ``stop_signal``; ``death_signal`` is what it receives
    when the supervisor itself is killed. Children of lower ``stop_rank`` are stopped first. One
    that is not ``essential`` is left out when it cannot be kept alive.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    essential: bool = True
    stop_rank: int = 0
    stop_s: float = 5.0
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    hasty_signal: signal.Signals = signal.SIGKILL


class Child:
    """A running process, the leader of a session and process group of its own.

    A terminal's Ctrl-C therefore reaches the supervisor alone. Start it from the main thread:
    the kernel takes the end of the thread that started a process for the parent's death.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        wrapper = (sys.executable, "-I", "-S", guard.__file__, str(os.getpid()))
        with open(spec.log, "ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, str(int(spec.death_signal)), *spec.command],
                env=dict(spec.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kill what is left of the process and its group, and reap it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def last_lines(self, count: int = 12) -> str:
        """The end of its log."""
        return tail(self.spec.log, count)


def tail(path: Path, count: int) -> str:
    """The last ``count`` lines of a file, or nothing when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
        hint = " (by hand, or for want of memory)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    except ValueError:
        return f"was killed by signal {-code}"
