"""Files and batches whose time is over."""

import time
from collections.abc import Callable

import structlog

from contract.store import BatchStore, FileStore
from producer.storage import FileStorage

EVERY_S = 60.0

_log = structlog.get_logger()


class Sweeper:
    """Removes them, once a minute however often it is called. Several may do so."""

    def __init__(
        self,
        files: FileStore,
        batches: BatchStore,
        storage: FileStorage,
        *,
        file_ttl_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._batches = batches
        self._storage = storage
        self._file_ttl_s = file_ttl_s
        self._clock_s = clock_s
        self._due_s = clock_s()

    def __call__(self) -> None:
        """Remove what is due. Raises StoreUnavailableError, StorageUnavailableError."""
        if self._clock_s() < self._due_s:
            return
        self._due_s = self._clock_s() + EVERY_S
        expired = self._files.expired()
        for file_id in expired:
            self._storage.delete(f"files/{file_id}")  # before its record, which finds it again
            self._files.drop(file_id)
        dropped = self._batches.drop_old(self._file_ttl_s)
        if expired or dropped:
            _log.info("files.expired", files=len(expired), batches=dropped)
