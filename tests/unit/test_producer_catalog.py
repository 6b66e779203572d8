"""References mean what the store says now, without a look at its files each time."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import UnknownModelError
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from producer.catalog import Catalog


class CountingStore(ModelStore):
    """A store that counts how often it was asked."""

    asked = 0

    def resolve(self, ref: str) -> ModelVersion:
        self.asked += 1
        return super().resolve(ref)


def hours_later() -> float:
    return time.time() + 7200


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path)
    write_tiny_llama(store)
    return store


def test_a_settled_model_is_read_once(store: CountingStore) -> None:
    catalog = Catalog(store, now_s=hours_later)
    before = store.asked

    found = {catalog.resolve("tiny").digest for _ in range(10)}

    assert len(found) == 1
    assert store.asked - before == 1


def test_a_model_that_changed_a_moment_ago_is_read_again(store: CountingStore) -> None:
    catalog = Catalog(store)
    before = store.asked

    for _ in range(3):
        catalog.resolve("tiny")

    assert store.asked - before == 3


@pytest.mark.parametrize("clock", [time.time, hours_later])
def test_a_promoted_version_is_seen_at_once(
    store: CountingStore, clock: Callable[[], float]
) -> None:
    catalog = Catalog(store, now_s=clock)
    assert catalog.resolve("tiny").version == 1
    shutil.copytree(store.root / "tiny" / "1", store.root / "tiny" / "2")

    store.promote("tiny:2")

    assert catalog.resolve("tiny").version == 2
    assert catalog.resolve("tiny@previous").version == 1
    assert catalog.resolve("tiny:1").version == 1


@pytest.mark.parametrize("ref", ["nope", "../tiny", "/etc", ".staging", "x" * 5000, "a\0b", ""])
def test_what_is_not_there_is_unknown(store: CountingStore, ref: str) -> None:
    with pytest.raises(UnknownModelError, match="known: tiny"):
        Catalog(store, now_s=hours_later).resolve(ref)
