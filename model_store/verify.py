"""Is a folder exactly the files it should be? Hashing, and the refusal of anything else."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from contract.errors import InvalidModelError, ModelTamperedError
from model_store.manifest import MANIFEST_NAME, FileEntry

_CHUNK_BYTES = 1 << 20
_MOST_NAME_BYTES = 255
_MOST_PATH_BYTES = 1024


def tabulate(folder: Path) -> dict[str, FileEntry]:
    """Hash every file under ``folder`` except the manifest, keyed by relative POSIX path.

    Raises:
        InvalidModelError: something in the folder is a symlink or not a plain file.
    """
    table = {}
    for name, path in _walk(folder):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidModelError(f"{path}: a version may hold plain files only (no links)")
        if name != MANIFEST_NAME:
            table[name] = FileEntry(sha256=hash_file(path), bytes=path.stat().st_size)
    return table


def verify_files(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Check that ``folder`` holds exactly ``files``, byte for byte, and the manifest.

    Raises:
        ModelTamperedError: a file is missing, changed, a link, outside the folder, or not listed.
    """
    for name, entry in files.items():
        _verify_file(folder, name, entry)
    for name, path in _walk(folder):
        if name not in files and name != MANIFEST_NAME:
            raise ModelTamperedError(f"{path} is not listed in {MANIFEST_NAME}")


def hash_file(path: Path) -> str:
    """sha256 (hex) of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_inside(name: str) -> bool:
    """Whether a relative path names a place below its folder: no root, no ``..``, no backslash.

    What no file system takes as a name is not inside either.
    """
    parts = PurePosixPath(name).parts
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return False
    if "\0" in name or sum(sizes) > _MOST_PATH_BYTES or max(sizes, default=0) > _MOST_NAME_BYTES:
        return False
    return bool(parts) and "\\" not in name and parts[0] != "/" and ".." not in parts


def _verify_file(folder: Path, name: str, entry: FileEntry) -> None:
    if not is_inside(name):
        raise ModelTamperedError(f"{folder / MANIFEST_NAME} lists {name!r}, which lies outside")
    path = folder / name
    # Each folder on the way is looked at too: a linked folder would lead outside.
    for place in (path, *path.parents[: len(PurePosixPath(name).parts) - 1]):
        if place.is_symlink():
            raise ModelTamperedError(f"{place} is a symbolic link")
    if not path.is_file():
        raise ModelTamperedError(f"{path} is missing")
    if path.stat().st_size != entry.bytes:
        raise ModelTamperedError(
            f"{path} has {path.stat().st_size} bytes; {entry.bytes} were imported"
        )
    if hash_file(path) != entry.sha256:
        raise ModelTamperedError(f"{path} is not the file that was imported (sha256 differs)")


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below ``folder`` that is not a real directory, in sorted order."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders.sort()
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted(names + links):
            yield (here / name).relative_to(folder).as_posix(), here / name
