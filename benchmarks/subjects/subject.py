"""What every subject of a benchmark can do."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.workloads import Item
from model_store.store import ModelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. ``pieces``: when text arrived (perf_counter), and the tokens by then."""

    tokens: int
    text: str
    pieces: tuple[tuple[float, int], ...] = ()


class Subject(Protocol):
    """Something that answers items, from many threads at once."""

    about: str
    """One line: what it is and how it is set up."""

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """Ask, and wait for the whole answer; only with ``stream`` does it have ``pieces``."""

    def processes(self) -> Sequence[int]:
        """The ids of its processes; none when it lives in this one."""


Opened = AbstractContextManager[Subject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What subjects are made from.

    ``folder`` is scratch space of this run; ``peers`` keeps built peers and converted weights
    between runs. ``build`` allows a peer to be built, which may take minutes.
    """

    store: ModelStore
    folder: Path
    peers: Path
    slots: int
    threads: int
    build: bool

    def subfolder(self, name: str) -> Path:
        """A folder of the scratch space."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
