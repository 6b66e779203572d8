"""The store of models: ``<root>/<name>/<version>/`` and ``<root>/<name>/aliases.json``."""

import dataclasses
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from contract.errors import (
    InvalidModelError,
    ModelInUseError,
    ModelTamperedError,
    UnknownModelError,
)
from model_store import aliases as alias_table
from model_store.aliases import PREVIOUS, PRODUCTION
from model_store.manifest import MANIFEST_NAME, Manifest, ModelVersion
from model_store.staging import exclusive, staging_folder, sweep
from model_store.verify import tabulate, verify_files

SOURCES = "sources"
_STAGING = ".staging"
_LOCK = ".lock"
_LAST_VERSION = "last_version"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_log = structlog.get_logger()


class ModelStore:
    """Every model version below one folder. Safe for several processes at once.

    A version appears by one rename when it is whole, and never changes. Numbers only grow:
    that of a removed version is not given again.
    """

    def __init__(
        self, root: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.root = root
        self._now = now

    @property
    def sources(self) -> Path:
        """The folder that keeps what imports downloaded, so that a second one needs no network."""
        return self.root / SOURCES

    def names(self) -> list[str]:
        """The names that have at least one version, sorted."""
        if not self.root.is_dir():
            return []
        folders = (path for path in self.root.iterdir() if path.is_dir())
        return sorted(path.name for path in folders if self._numbers(path.name))

    def models(self) -> list[ModelVersion]:
        """Every version of every name, by name and number."""
        return [self._read(name, number) for name in self.names() for number in self._numbers(name)]

    def served(self) -> list[ModelVersion]:
        """The production version of each name that has one."""
        tables = ((name, self.aliases(name)) for name in self.names())
        return [
            self._read(name, table[PRODUCTION]) for name, table in tables if PRODUCTION in table
        ]

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version number of one name."""
        return alias_table.read_aliases(self.root / name)

    def resolve(self, ref: str) -> ModelVersion:
        """The version meant by ``name`` (its production), ``name@alias`` or ``name:3``.

        Raises:
            UnknownModelError: there is no such name, alias or version; names the known ones.
        """
        name, separator, rest = _split(ref)
        numbers = self._numbers(name) if _is_name(name) else []
        if not numbers:
            known = ", ".join(self.names()) or "none; `millrace models import smollm2` makes one"
            raise UnknownModelError(f"there is no model {name!r}; known: {known}")
        if separator == ":":
            number = int(rest) if rest.isascii() and rest.isdigit() else -1
            known = ", ".join(f"{name}:{each}" for each in numbers)
        else:
            table = self.aliases(name)
            number = table.get(rest or PRODUCTION, -1)
            known = ", ".join(f"{name}@{alias}" for alias in sorted(table)) or "none"
        if number not in numbers:
            raise UnknownModelError(f"there is no model {ref!r}; known: {known}")
        return self._read(name, number)

    def promote(self, ref: str, alias: str = PRODUCTION) -> ModelVersion:
        """Point ``alias`` at a version; a new production version keeps the old as ``previous``."""
        if not _is_name(alias):
            raise InvalidModelError(f"{alias!r} is not an alias: it must match {_NAME.pattern}")
        with self._locked():
            version = self.resolve(ref)
            table = self.aliases(version.name)
            if alias == PRODUCTION:
                changed = alias_table.with_production(table, version.version)
            else:
                changed = {**table, alias: version.version}
            alias_table.write_aliases(self.root / version.name, changed)
        _log.info("model.promoted", model=version.ref, alias=alias)
        return version

    def rollback(self, name: str) -> ModelVersion:
        """Swap ``production`` and ``previous``; a second rollback undoes the first.

        Raises:
            UnknownModelError: the name has no previous version.
        """
        return self.promote(f"{name}@{PREVIOUS}")

    def remove(self, ref: str) -> ModelVersion:
        """Delete a version's files.

        Raises:
            ModelInUseError: an alias points at it.
        """
        with self._locked():
            version = self.resolve(ref)
            table = self.aliases(version.name)
            users = sorted(alias for alias, number in table.items() if number == version.version)
            if users:
                raise ModelInUseError(
                    f"{version.ref} is the target of {', '.join(users)}; promote another version"
                    " first"
                )
            # Out of sight by one rename: a reader never meets half a version.
            with self.stage(version.name) as folder:
                version.path.rename(folder / str(version.version))
        _log.info("model.removed", model=version.ref)
        return version

    def verify(self, version: ModelVersion | str) -> ModelVersion:
        """Hash every file of a version. Raises ModelTamperedError naming the first bad one."""
        found = self.resolve(version) if isinstance(version, str) else version
        verify_files(found.path, found.manifest.files)
        return found

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """A folder in which a version of ``name`` can be made; gone after the block."""
        require_name(name)
        return staging_folder(self.root / _STAGING, name)

    def sweep(self) -> list[str]:
        """Remove what imports that died have left; the names of the folders removed."""
        return sweep(self.root / _STAGING)

    def add(self, name: str, folder: Path, manifest: Manifest) -> ModelVersion:
        """Make the staged ``folder`` the next version of ``name`` and return it.

        The file table and the time are filled in here. The first version of a name goes into
        production. A whole version with equal content is returned instead of a second copy;
        a damaged one is replaced, in production too.

        Raises:
            InvalidModelError: the folder holds a link, or an ONNX file that is not safe to load.
        """
        # Only an import needs onnx; the front reads the store without it.
        from model_store.onnx_safety import check_onnx_files

        require_name(name)
        check_onnx_files(folder)
        manifest = dataclasses.replace(
            manifest,
            files=tabulate(folder),
            created_at=self._now().isoformat(timespec="seconds"),
        )
        with self._locked():
            twins = [each for each in self.versions(name) if each.digest == manifest.digest()]
            damaged = [each.version for each in twins if not self.is_whole(each)]
            whole = [each.version for each in twins if each.version not in damaged]
            number = whole[0] if whole else self._take(name, folder, manifest)
            table = self.aliases(name)
            if table.get(PRODUCTION) in (None, *damaged):
                alias_table.write_aliases(self.root / name, {**table, PRODUCTION: number})
        version = self._read(name, number)
        if not whole:
            _log.info("model.imported", model=version.ref, digest=version.digest)
        return version

    def _take(self, name: str, folder: Path, manifest: Manifest) -> int:
        """Move the staged folder to the next number of ``name`` and return the number."""
        counter = self.root / name / _LAST_VERSION
        counter.parent.mkdir(parents=True, exist_ok=True)
        try:
            last = int(counter.read_text()) if counter.exists() else 0
        except ValueError as error:
            raise InvalidModelError(f"{counter} is not a number: {error}") from error
        number = max([last, *self._numbers(name)]) + 1
        alias_table.replace_file(counter, f"{number}\n")
        alias_table.replace_file(folder / MANIFEST_NAME, manifest.to_json())
        folder.rename(self.root / name / str(number))
        return number

    def is_whole(self, version: ModelVersion) -> bool:
        """Whether every file of a version is as it was imported; a bad one is logged."""
        try:
            self.verify(version)
        except ModelTamperedError as error:
            _log.warning("model.damaged", model=version.ref, detail=error.detail)
            return False
        return True

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of one name, oldest first; none when the name is unknown."""
        return [self._read(name, number) for number in self._numbers(name)]

    def _numbers(self, name: str) -> list[int]:
        folder = self.root / name
        if not _is_name(name) or not folder.is_dir():
            return []
        entries = (entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
        return sorted(int(entry.name) for entry in entries if entry.name.isdecimal())

    def _read(self, name: str, number: int) -> ModelVersion:
        return ModelVersion.read(self.root / name / str(number), name=name, version=number)

    def _locked(self) -> AbstractContextManager[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        return exclusive(self.root / _LOCK)


def name_from(text: str) -> str:
    """The closest model name to some text, such as a file's name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64]
    return name if _is_name(name) else f"model-{name}"[:64].rstrip("-")


def _split(ref: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"([^@:]*)(?:([@:])(.+))?", ref)
    return (match[1], match[2] or "", match[3] or "") if match else (ref, "", "")


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name != SOURCES


def require_name(name: str) -> None:
    """Raise InvalidModelError unless a model may have this name."""
    if not _is_name(name):
        raise InvalidModelError(
            f"{name!r} cannot name a model: it must match {_NAME.pattern} and not be {SOURCES!r}"
        )
