"""The folder that one ``millrace up`` has for itself: logs, Valkey's files, models."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace.up.errors import DataDirInUseError

_KEPT = ".previous"


class DataFolder:
    """Paths below MILLRACE_DATA_DIR."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.valkey = root / "valkey"
        self.logs = root / "logs"

    def log(self, name: str) -> Path:
        """A fresh log file for a child; the one of the run before is kept beside it."""
        path = self.logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_name(path.name + _KEPT))
        path.touch()
        return path

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Make the folders and hold them for this process alone; the kernel lets go at its end.

        Raises:
            DataDirInUseError: another process holds them.
        """
        for folder in (self.root, self.valkey, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        with open(self.root / "up.lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise DataDirInUseError(
                    f"another `millrace up` (pid {lock.read().strip() or 'unknown'}) runs on"
                    f" {self.root}: use that one, stop it, or set MILLRACE_DATA_DIR and the ports"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
