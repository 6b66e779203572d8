"""The store: references, aliases, immutability, and what it does after a crash."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.errors import (
    InvalidModelError,
    ModelInUseError,
    UnknownModelError,
)
from model_store.manifest import ModelVersion
from model_store.store import ModelStore, name_from
from tests.support.versions import add
from tests.support.waiting import eventually


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_version_is_found_by_name_alias_and_number(store: ModelStore) -> None:
    version = add(store, "one")
    assert version.ref == "m:1"
    for ref in ("m", "m@production", "m:1"):
        assert store.resolve(ref) == version


def test_a_new_version_waits_for_its_promotion(store: ModelStore) -> None:
    first, second = add(store, "one"), add(store, "two")
    assert store.resolve("m") == first
    assert store.models() == [first, second]
    assert store.served() == [first]
    assert store.promote("m:2") == second
    assert store.resolve("m") == second
    assert store.resolve("m@previous") == first


def test_rollback_swaps_production_and_previous(store: ModelStore) -> None:
    add(store, "one")
    add(store, "two")
    store.promote("m:2")
    assert store.rollback("m").version == 1
    assert store.aliases("m") == {"production": 1, "previous": 2}
    assert store.rollback("m").version == 2


def test_rollback_without_a_previous_version_says_so(store: ModelStore) -> None:
    add(store, "one")
    with pytest.raises(UnknownModelError, match="m@production"):
        store.rollback("m")


def test_another_alias_leaves_production_alone(store: ModelStore) -> None:
    add(store, "one")
    add(store, "two")
    store.promote("m:2", alias="canary")
    assert store.resolve("m@canary").version == 2
    assert store.resolve("m").version == 1


@pytest.mark.parametrize("ref", ["x", "m:9", "m:x", "m@canary", "", "m:", "../m", "m@production:1"])
def test_an_unknown_reference_names_what_is_known(store: ModelStore, ref: str) -> None:
    add(store, "one")
    with pytest.raises(UnknownModelError, match="known: m"):
        store.resolve(ref)


def test_an_empty_store_says_how_to_fill_it(store: ModelStore) -> None:
    assert store.models() == []
    with pytest.raises(UnknownModelError, match="models import smollm2"):
        store.resolve("smollm2")


@pytest.mark.parametrize("name", ["sources", "Capital", "a/b", "..", "", "a:b", "-a", "x" * 65])
def test_a_name_that_would_not_be_a_plain_folder_is_refused(store: ModelStore, name: str) -> None:
    with pytest.raises(InvalidModelError, match="cannot name a model"):
        store.stage(name)


def test_a_file_name_becomes_a_usable_model_name() -> None:
    assert name_from("SmolLM2-135M-Instruct.Q4_1") == "smollm2-135m-instruct.q4_1"
    assert name_from("sources") == "model-sources"
    assert name_from("日本") == "model"


def test_a_version_in_use_is_not_removed(store: ModelStore) -> None:
    add(store, "one")
    add(store, "two")
    store.promote("m:2")
    with pytest.raises(ModelInUseError, match="previous"):
        store.remove("m:1")
    with pytest.raises(ModelInUseError, match="production"):
        store.remove("m")
    assert len(store.models()) == 2


def test_the_number_of_a_removed_version_is_not_given_again(store: ModelStore) -> None:
    add(store, "one")
    second = add(store, "two")
    store.remove("m:2")
    assert not second.path.exists()
    assert [each.version for each in store.models()] == [1]
    assert add(store, "three").version == 3


def test_equal_content_is_kept_once(store: ModelStore) -> None:
    assert add(store, "one") == add(store, "one")
    assert add(store, "one", name="other").digest == add(store, "one").digest


def test_the_digest_does_not_depend_on_the_time(tmp_path: Path) -> None:
    def at(year: int) -> ModelVersion:
        moment = datetime(year, 1, 1, tzinfo=UTC)
        return add(ModelStore(tmp_path / str(year), now=lambda: moment), "one")

    old, new = at(2001), at(2031)
    assert old.digest == new.digest
    assert old.manifest.created_at == "2001-01-01T00:00:00+00:00"


def test_a_damaged_production_version_is_replaced_by_a_new_import(store: ModelStore) -> None:
    damaged = add(store, "one")
    (damaged.path / "weights.bin").write_text("two")
    repaired = add(store, "one")
    assert repaired.version == 2
    assert store.verify("m") == repaired


def test_an_import_that_died_before_its_alias_is_completed_by_the_next(store: ModelStore) -> None:
    version = add(store, "one")
    (store.root / "m" / "aliases.json").unlink()
    with pytest.raises(UnknownModelError):
        store.resolve("m")
    assert add(store, "one") == version
    assert store.resolve("m") == version


def test_simultaneous_imports_get_different_numbers(store: ModelStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda each: add(store, str(each)), range(16)))
    assert sorted(each.version for each in versions) == list(range(1, 17))
    assert all(store.verify(each) for each in versions)
    assert store.resolve("m").version == 1


def test_a_killed_import_leaves_nothing_visible_and_is_swept(store: ModelStore) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from model_store.store import ModelStore\n"
        "with ModelStore(pathlib.Path(sys.argv[1])).stage('m') as folder:\n"
        "    (folder / 'weights.bin').write_text('half')\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        eventually(lambda: folder.is_dir(), timeout_s=10)
        assert store.sweep() == []
        assert folder.is_dir()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert store.models() == []
    assert store.sweep() == [folder.name]
    assert not folder.exists()
