"""Model references resolved for every submit, without reading the disk each time."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_store.manifest import ModelVersion
from model_store.store import ModelStore

#: A folder that changed this recently may change again without a new time stamp.
_SETTLED_S = 2.0
#: References that are kept; what is unknown is never kept.
_MAX_KEPT = 1024
_NAME = re.compile(r"[^@:]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    stamp_ns: int
    version: ModelVersion


class Catalog:
    """What the model store holds, as the front needs it.

    A new version and a changed alias are both renames inside the model's folder, so the time
    stamp of that folder tells whether a reference still means the same.
    """

    def __init__(self, store: ModelStore, *, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now_s = now_s
        self._kept: dict[str, _Kept] = {}

    def resolve(self, ref: str) -> ModelVersion:
        """The version that ``ref`` means now. Raises UnknownModelError, naming the known ones."""
        stamp_ns = self._stamp_ns(ref)
        kept = self._kept.get(ref)
        if kept is not None and stamp_ns is not None and kept.stamp_ns == stamp_ns:
            return kept.version
        version = self._store.resolve(ref)
        if stamp_ns is not None and stamp_ns / 1e9 < self._now_s() - _SETTLED_S:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[ref] = _Kept(stamp_ns=stamp_ns, version=version)
        return version

    def served(self) -> list[ModelVersion]:
        """The production version of every name that has one."""
        return self._store.served()

    def versions(self) -> dict[str, list[int]]:
        """Every version number of every name."""
        found: dict[str, list[int]] = {}
        for each in self._store.models():
            found.setdefault(each.name, []).append(each.version)
        return found

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version number of one name."""
        return self._store.aliases(name)

    def _stamp_ns(self, ref: str) -> int | None:
        match = _NAME.match(ref)
        if match is None or "/" in match[0] or "\0" in match[0] or match[0].startswith("."):
            return None
        try:
            return (Path(self._store.root) / match[0]).stat().st_mtime_ns
        except (OSError, ValueError):  # absent, too long, or not encodable
            return None
