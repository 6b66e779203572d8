"""Half-made versions: each lies in its own folder, out of sight, held by a lock.

The lock is ``flock``: the kernel drops it when the process dies in any way, so a folder
whose lock can be taken has no owner any more and may be swept.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_SUFFIX = ".lock"


@contextmanager
def staging_folder(root: Path, label: str) -> Iterator[Path]:
    """An empty folder under ``root`` for the length of the block; what is left in it goes."""
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{label}-{os.getpid()}-{secrets.token_hex(4)}"
    lock = folder.with_name(folder.name + _LOCK_SUFFIX)
    with exclusive(lock):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def sweep(root: Path) -> list[str]:
    """Remove the staging folders whose owner is gone; the names of those removed."""
    removed = []
    for lock in root.glob(f"*{_LOCK_SUFFIX}") if root.is_dir() else ():
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            folder = lock.with_name(lock.name.removesuffix(_LOCK_SUFFIX))
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
            removed.append(folder.name)
    return removed


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; waits while another process (or thread) holds it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
