"""A version is used only as it was imported."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import (
    InvalidModelError,
    ModelTamperedError,
)
from model_store.manifest import MANIFEST_NAME, FileEntry, GoldenPrompt, Manifest
from model_store.store import ModelStore
from tests.support.versions import MANIFEST, add


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


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
