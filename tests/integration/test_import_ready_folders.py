"""Imports of folders that hold a graph already, and of what holds no model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from contract.errors import InvalidModelError, ModelImportError
from model_store.export.llama import Llama
from model_store.importing.pipeline import import_model
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert
from tests.support.golden import answers
from tests.support.gqa_folder import write_gqa_folder


def test_a_ready_paged_folder_is_taken_as_it_is(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion
) -> None:
    shutil.copytree(tiny.path, tmp_path / "ready")
    version = import_model(models, str(tmp_path / "ready"))
    assert version.manifest.form == "fp32"
    assert answers(version) == answers(tiny)
    for name in ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"):
        assert version.manifest.files[name] == tiny.manifest.files[name]


def test_a_folder_of_the_builder_is_rewritten(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gqa_folder(llama, tiny.path, tmp_path / "built")
    version = import_model(models, str(tmp_path / "built"))
    assert answers(version) == answers(tiny)
    config = json.loads((version.path / "genai_config.json").read_text())
    assert config["engine"]["dynamic_batching"]["block_size"] == 16


def test_a_ready_encoder_is_taken_as_it_is(models: ModelStore, tmp_path: Path) -> None:
    tiny = write_tiny_bert(ModelStore(tmp_path / "tiny"))
    shutil.copytree(tiny.path, tmp_path / "ready")
    with pytest.raises(ModelImportError, match="how many tokens fit"):
        import_model(models, str(tmp_path / "ready"))
    (tmp_path / "ready" / "config.json").write_text('{"max_position_embeddings": 128}')
    version = import_model(models, str(tmp_path / "ready"))
    assert (version.manifest.task, version.manifest.dimensions) == ("embed", 32)
    np.testing.assert_allclose(
        version.manifest.golden[0].embedding,  # type: ignore[union-attr]
        tiny.manifest.golden[0].embedding,  # type: ignore[union-attr]
        atol=1e-6,
    )


def test_a_ready_folder_with_a_link_or_a_library_is_refused(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion
) -> None:
    shutil.copytree(tiny.path, tmp_path / "ready")
    (tmp_path / "ready" / "ops.so").write_bytes(b"\x7fELF")
    with pytest.raises(InvalidModelError, match=r"ops\.so is a library"):
        import_model(models, str(tmp_path / "ready"))
    (tmp_path / "ready" / "ops.so").unlink()
    (tmp_path / "ready" / "extra").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModelError, match="extra: a version may hold plain files only"):
        import_model(models, str(tmp_path / "ready"))
    assert models.models() == []


@pytest.mark.parametrize(
    ("source", "named"),
    [("no-such-model", "known: smollm2, smollm2-int8, minilm"), ("/", "holds no model")],
)
def test_a_source_that_is_none_is_refused(models: ModelStore, source: str, named: str) -> None:
    with pytest.raises(ModelImportError, match=named):
        import_model(models, source)
