"""The engine alone, in this process: no HTTP, no queue."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.subjects.models import device_of, version_of
from benchmarks.subjects.subject import Bench, Reply
from benchmarks.workloads import Item
from workers.engine import Engine, open_engine

_ANSWER_S = 600


class BareEngine:
    """An engine of ``slots`` slots."""

    def __init__(self, engine: Engine, about: str) -> None:
        self.about = about
        self._engine = engine

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """See :class:`benchmarks.subjects.subject.Subject`."""
        pieces: list[tuple[float, int]] = []

        def arrived(_: str, tokens: int) -> None:
            pieces.append((time.perf_counter(), tokens))

        request = self._engine.prompt(item.stored_input, item.parameters)
        result = self._engine.submit(request, arrived if stream else None).result(_ANSWER_S)
        if item.texts:
            return Reply(tokens=0, text="")
        return Reply(tokens=result.completion_tokens, text=result.text, pieces=tuple(pieces))

    def processes(self) -> list[int]:
        """None of its own."""
        return []


@contextmanager
def open_bare_engine(bench: Bench, form: str) -> Iterator[BareEngine]:
    """The engine as a worker opens it."""
    with _open(bench, form, bench.slots) as engine:
        yield BareEngine(engine, f"the engine in this process, {engine.slots} slots")


@contextmanager
def open_one_by_one(bench: Bench, form: str) -> Iterator[BareEngine]:
    """The same engine with a single slot: it finishes a request before it begins the next."""
    with _open(bench, form, 1) as engine:
        yield BareEngine(engine, "the engine in this process, 1 slot: one job at a time")


@contextmanager
def _open(bench: Bench, form: str, slots: int) -> Iterator[Engine]:
    version, device = version_of(bench.store, form), device_of(form)
    engine = open_engine(version, slots=slots, threads=bench.threads, device=device)
    try:
        yield engine
    finally:
        engine.close()
