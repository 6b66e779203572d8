"""The records of stored files. Their content is not in Redis."""

from typing import Any

from contract import keys
from contract.batch import File
from contract.errors import UnknownFileError
from contract.job import Page
from contract.store.connection import Connection, translated
from contract.store.pages import fields_of, records

EXPIRED_AT_ONCE = 100


class FileStore:
    """Files by id. Every method raises StoreUnavailableError when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, file_id: str, *, name: str, purpose: str, size: int, ttl_s: float | None) -> File:
        """Record a file whose content is stored; it is kept for ``ttl_s``, None: for good."""
        kept_s = None if ttl_s is None else int(ttl_s)
        row = self._connection.run("put_file", file_id, name, purpose, size, kept_s)
        return _file(file_id, fields_of(row))

    def get(self, file_id: str) -> File:
        """One file. Raises UnknownFileError."""
        with translated():
            fields: Any = self._connection.redis.hgetall(keys.FILE(file_id))
        if not fields:
            raise UnknownFileError(f"no file has the id {file_id!r}")
        return _file(file_id, fields)

    def drop(self, file_id: str) -> bool:
        """Forget a file; whether there was one. Its content is the caller's to delete."""
        return bool(self._connection.run("drop_file", file_id))

    def expired(self) -> list[str]:
        """Files whose time is over, at most ``EXPIRED_AT_ONCE``."""
        found: list[str] = self._connection.run("expired_files", EXPIRED_AT_ONCE)
        return found

    def list_files(
        self, *, purpose: str | None, limit: int, after: str | None, oldest_first: bool = False
    ) -> Page[File]:
        """Files, newest first, from behind ``after``. Raises UnknownFileError for that one."""
        found: list[File] = []
        rows = records(self._connection, keys.FILES(), keys.FILE, after, oldest_first=oldest_first)
        if rows is None:
            raise UnknownFileError(f"no file has the id {after!r}, given as 'after'")
        for file_id, fields in rows:
            if purpose is None or fields["purpose"] == purpose:
                found.append(_file(file_id, fields))
            if len(found) > limit:
                break
        return Page(items=found[:limit], has_more=len(found) > limit)


def _file(file_id: str, fields: dict[str, str]) -> File:
    expires = fields.get("expires_ms")
    return File(
        id=file_id,
        name=fields["name"],
        purpose=fields["purpose"],
        size=int(fields["size"]),
        created_ms=int(fields["created_ms"]),
        expires_ms=int(float(expires)) if expires else None,
    )
