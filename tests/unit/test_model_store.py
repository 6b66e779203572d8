"""The store: references, aliases, immutability, and what it does after a crash."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.errors import (
    InvalidModelError,
    ModelInUseError,
    ModelTamperedError,
    UnknownModelError,
)
from model_store.manifest import MANIFEST_NAME, FileEntry, GoldenPrompt, Manifest, ModelVersion
from model_store.store import ModelStore, name_from
from tests.support.waiting import eventually

MANIFEST = Manifest(
    task="generate", form="fp32", device="cpu", context_length=128, max_token_bytes=8
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def add(store: ModelStore, content: str, name: str = "m") -> ModelVersion:
    with store.stage(name) as folder:
        (folder / "weights.bin").write_text(content)
        (folder / "inner").mkdir()
        (folder / "inner" / "more.txt").write_text("more")
        return store.add(name, folder, MANIFEST)


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


def test_a_whole_version_passes_verification(store: ModelStore) -> None:
    version = add(store, "one")
    assert store.verify("m:1") == version
    assert set(version.manifest.files) == {"weights.bin", "inner/more.txt"}


def tamper_same_size(path: Path) -> None:
    (path / "weights.bin").write_text("eno")


def lose(path: Path) -> None:
    (path / "weights.bin").unlink()


def grow(path: Path) -> None:
    (path / "weights.bin").write_text("one and more")


def link(path: Path) -> None:
    target = path.parent / "elsewhere"
    (path / "weights.bin").rename(target)
    (path / "weights.bin").symlink_to(target)


def link_folder(path: Path) -> None:
    (path / "inner").rename(path.parent / "elsewhere")
    (path / "inner").symlink_to(path.parent / "elsewhere")


def smuggle(path: Path) -> None:
    (path / "inner" / "extra.py").write_text("print()")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (tamper_same_size, r"weights\.bin is not the file that was imported"),
        (lose, r"weights\.bin is missing"),
        (grow, r"weights\.bin has 12 bytes; 3 were imported"),
        (link, r"weights\.bin is a symbolic link"),
        (link_folder, r"inner is a symbolic link"),
        (smuggle, r"extra\.py is not listed"),
    ],
)
def test_a_changed_file_is_refused_by_name(
    store: ModelStore, change: Callable[[Path], None], named: str
) -> None:
    version = add(store, "one")
    change(version.path)
    with pytest.raises(ModelTamperedError, match=named):
        store.verify(version)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "inner/../../x", "a\\b"])
def test_a_listed_path_that_leads_outside_is_refused(store: ModelStore, name: str) -> None:
    version = add(store, "one")
    listed = {**version.manifest.files, name: FileEntry(sha256="0" * 64, bytes=1)}
    manifest = Manifest(
        task="generate",
        form="fp32",
        device="cpu",
        context_length=1,
        max_token_bytes=1,
        files=listed,
    )
    (version.path / MANIFEST_NAME).write_text(manifest.to_json())
    with pytest.raises(ModelTamperedError, match="lies outside"):
        store.verify("m:1")


def test_a_link_is_refused_before_a_version_appears(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with store.stage("m") as folder:
        (folder / "weights.bin").symlink_to(tmp_path / "secret")
        with pytest.raises(InvalidModelError, match=r"weights\.bin"):
            store.add("m", folder, MANIFEST)
    assert store.models() == []


def test_a_manifest_survives_being_written_and_read() -> None:
    golden = GoldenPrompt(
        input={"prompt": "héllo"},
        prompt_tokens=(1, 2),
        max_tokens=3,
        tokens=(4, 5),
        text="¡o",
        finish_reason="stop",
    )
    manifest = Manifest(
        task="generate",
        form="int8",
        device="cpu",
        context_length=9,
        max_token_bytes=8,
        golden=(golden,),
        files={"a": FileEntry(sha256="0" * 64, bytes=1)},
    )
    assert Manifest.from_json(manifest.to_json(), where="here") == manifest


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "is not a model manifest"),
        ("[]", "is not a model manifest"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "task": "paint"}', "paint"),
    ],
)
def test_a_broken_manifest_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidModelError, match=f"here.*{named}"):
        Manifest.from_json(text, where="here")


def test_a_file_table_that_was_edited_is_noticed() -> None:
    text = Manifest(
        task="embed", form="fp32", device="cpu", context_length=1, max_token_bytes=1
    ).to_json()
    edited = text.replace('"files": {}', '"files": {"a": {"sha256": "0", "bytes": 1}}')
    assert edited != text
    with pytest.raises(InvalidModelError, match="the digest is not"):
        Manifest.from_json(edited, where="here")


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
