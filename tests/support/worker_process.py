"""A real worker process, as ``millrace worker`` starts it."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from contract.job import WorkerRecord
from contract.store import JobStore
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)


class WorkerProcess:
    """One worker with the given environment; it logs to ``folder``.

    Args:
        module: what is run, another entry point than the users' for faults that need one.
        prefix: words before the command, such as those that enter a network namespace.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        folder: Path,
        *,
        module: str = "workers.app",
        prefix: Sequence[str] = (),
    ) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        self._environment = {**plain, **settings}
        folder.mkdir(parents=True, exist_ok=True)
        self._command = [*prefix, sys.executable, "-m", module]
        self.log = folder / f"worker-{next(_numbers)}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "WorkerProcess":
        """Start; it registers some seconds later."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT, env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def registered(self, store: JobStore, timeout_s: float = 60) -> WorkerRecord:
        """Its row in the registry, once it is there."""

        def row() -> WorkerRecord | None:
            assert self.alive, self.log.read_text()[-2000:]
            return next((w for w in store.workers() if w.pid == self.pid), None)

        found = eventually(row, timeout_s)
        assert found is not None
        return found

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal by pid, unless it has ended: a poison may be faster."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and gone."""
        if self.alive:
            self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 60) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)
