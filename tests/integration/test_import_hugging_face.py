"""Imports of a Hugging Face folder: of a llama, of an encoder, of another kind."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from contract.errors import MissingDependencyError
from model_store.export.llama import Llama
from model_store.importing.pipeline import import_model
from model_store.importing.task import ImportTask
from model_store.importing.with_builder import builder_command
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert
from model_store.tiny_bert import random_bert
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.golden import answers
from tests.support.models import write_bert_source, write_llama_source


def test_a_hugging_face_llama_becomes_the_same_model_without_torch(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "source")
    version = import_model(models, str(tmp_path / "source"), name="hf")
    assert version.ref == "hf:1"
    assert answers(version) == answers(tiny)
    weights = "model.onnx.data"
    assert version.manifest.files[weights] == tiny.manifest.files[weights]


def test_a_hugging_face_folder_may_be_made_of_links(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    version = import_model(models, str(tmp_path / "snapshot"))
    assert answers(version) == answers(tiny)
    assert models.verify(version) == version


def test_a_hugging_face_folder_of_another_kind_needs_the_extra(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_source(llama, tiny.path, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "yarn", "factor": 8}
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"torch.*millrace\[export\]"):
            import_model(models, str(tmp_path / "source"))
    else:
        pytest.skip("torch is installed")


def test_the_builder_is_told_to_page_its_cache_for_cuda(models: ModelStore) -> None:
    task = ImportTask(store=models, name="m", form="fp16", device="cuda")
    command = builder_command(task, Path("in"), Path("out"), Path("cache"))
    assert command[1:3] == ["-m", "onnxruntime_genai.models.builder"]
    assert "use_paged_attention=true" in command
    cpu = builder_command(
        ImportTask(store=models, name="m"), Path("in"), Path("out"), Path("cache")
    )
    assert "use_paged_attention=true" not in cpu


def test_an_encoder_folder_becomes_the_same_embeddings(models: ModelStore, tmp_path: Path) -> None:
    tiny = write_tiny_bert(ModelStore(tmp_path / "tiny"))
    bert = random_bert(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))
    write_bert_source(bert, tiny.path, tmp_path / "source")
    version = import_model(models, str(tmp_path / "source"))
    assert version.manifest.dimensions == 32
    assert version.manifest.golden == tiny.manifest.golden
