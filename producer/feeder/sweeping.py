"""Files and batches whose time is over."""

import structlog

from contract.errors import UnknownBatchError
from producer.feeder.batch_run import Parts

EVERY_S = 60.0
_DAY_S = 86_400.0

_log = structlog.get_logger()


class Sweeper:
    """Removes them, once a minute however often it is called. Several may do so."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._due_s = parts.clock_s()

    def __call__(self) -> None:
        """Remove what is due. Raises StoreUnavailableError, StorageUnavailableError."""
        if self._parts.clock_s() < self._due_s:
            return
        self._due_s = self._parts.clock_s() + EVERY_S
        expired = self._parts.files.expired()
        for file_id in expired:
            self._parts.storage.delete(f"files/{file_id}")  # then its record, which led here
            self._parts.files.drop(file_id)
        self._parts.storage.drop_unfinished("files", _DAY_S)
        for folder in self._parts.storage.below("batches"):
            if self._is_over(folder.removeprefix("batches/")):
                self._parts.storage.delete(folder)  # its feeder died before it could
        dropped = self._parts.batches.drop_old(self._parts.file_ttl_s)
        if expired or dropped:
            _log.info("files.expired", files=len(expired), batches=dropped)

    def _is_over(self, batch_id: str) -> bool:
        try:
            return self._parts.batches.get(batch_id).ended
        except UnknownBatchError:
            return False  # a Redis that lost its data may get it back
