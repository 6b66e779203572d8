"""Where the content of files is: a folder, or what fsspec reaches by an address, such as S3."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from contract.errors import MissingDependencyError, SettingsError, StorageUnavailableError

#: A part that is written in one go: short enough for others to have their turns between two.
PIECE_BYTES = 1 << 20
_UNFINISHED = ".part"


@contextmanager
def _translated() -> Iterator[None]:
    # What the libraries behind fsspec fail with has OSError in common.
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailableError(
            f"the storage of files failed: {error}; see MILLRACE_FILES_URL"
        ) from error


class FileStorage:
    """Contents by name. A name is written whole or not at all.

    Args:
        url: a folder, which is made when the first file is, or an address of fsspec.
        sync: makes what was written to a descriptor safe on disk; a front has one that lets others
            have their turns meanwhile.

    Raises:
        MissingDependencyError: fsspec needs another package for such addresses.
        SettingsError: the file system behind the address wants an event loop of its own, which the
            front has no place for.
    """

    def __init__(self, url: str, *, sync: Callable[[int], None] = os.fsync) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise MissingDependencyError(f"MILLRACE_FILES_URL: {error}") from error
        if self._fs.async_impl:
            raise SettingsError(
                f"MILLRACE_FILES_URL: {self._fs.protocol} is not supported; mount it as a folder"
            )
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._sync = sync

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """A new content, which replaces an old one at the end of the block, if that ends well.

        Raises:
            StorageUnavailableError: it could not be written; the old one is as it was.
        """
        path = self._path(name)
        # Two may write the same name, of which one does not know yet that it should not.
        written = f"{path}.{uuid.uuid4().hex}{_UNFINISHED}" if self._is_local else path
        with _translated():
            self._fs.makedirs(self._fs._parent(path), exist_ok=True)
            stream: Any = self._fs.open(written, "wb")
        try:
            with _translated():
                yield stream
        except BaseException:
            self._drop(stream, written)
            raise
        with _translated():
            if self._is_local:  # any other storage keeps what it was closed with
                stream.flush()
                self._sync(stream.fileno())
            stream.close()
            if self._is_local:
                Path(written).replace(path)

    def read(self, name: str) -> BinaryIO:
        """A content, to read and close. Raises FileNotFoundError, StorageUnavailableError."""
        with _translated():
            stream: BinaryIO = self._fs.open(self._path(name), "rb")
            return stream

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a content. Raises FileNotFoundError, StorageUnavailableError."""
        with self.read(name) as stream, _translated():
            yield from stream

    def size(self, name: str) -> int:
        """Bytes of a content. Raises FileNotFoundError, StorageUnavailableError."""
        with _translated():
            return int(self._fs.size(self._path(name)))

    def delete(self, name: str) -> None:
        """Delete a content or all below it; what is not there already is."""
        with _translated(), suppress(FileNotFoundError):
            self._fs.rm(self._path(name), recursive=True)

    def below(self, name: str) -> list[str]:
        """The names right below one, in order."""
        with _translated():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(name), detail=False)
            except FileNotFoundError:
                return []
        names = sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
        return [f"{name}/{each}" for each in names if not each.endswith(_UNFINISHED)]

    def drop_unfinished(self, name: str, age_s: float) -> None:
        """Delete what somebody began to write below ``name`` so long ago that he must be dead."""
        folder = Path(self._path(name))
        if not self._is_local or not folder.is_dir():
            return
        with _translated():
            for path in folder.glob(f"*{_UNFINISHED}"):
                if time.time() - path.stat().st_mtime > age_s:
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _drop(self, stream: Any, written: str) -> None:
        with suppress(OSError):
            if self._is_local:
                stream.close()
                Path(written).unlink()
            else:
                stream.discard()
