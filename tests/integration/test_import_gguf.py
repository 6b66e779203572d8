"""Imports of a GGUF file: the same model, made once, in a form for its device."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.errors import ModelImportError
from model_store.export.llama import Llama
from model_store.importing.gguf_file import GgufFile
from model_store.importing.gguf_model import read_gguf
from model_store.importing.hugging_face import read_llama_folder
from model_store.importing.pipeline import import_model
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.verify import hash_file
from tests.support.golden import answers
from tests.support.models import write_gguf, write_llama_source


def test_a_gguf_file_becomes_the_same_model(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "My Llama.gguf")
    steps: list[str] = []
    version = import_model(
        models, str(tmp_path / "My Llama.gguf"), lambda step, fraction: steps.append(step)
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
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    first = import_model(models, str(tmp_path / "a.gguf"))
    steps: list[str] = []
    again = import_model(models, str(tmp_path / "a.gguf"), lambda step, _: steps.append(step))
    assert again == first
    assert "writing the graph" not in steps
    quantized = import_model(models, str(tmp_path / "a.gguf"), form="int8")
    assert (quantized.version, quantized.manifest.form) == (2, "int8")
    assert models.resolve("a") == first


def test_simultaneous_imports_of_one_source_make_one_version(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: import_model(models, str(tmp_path / "a.gguf")), range(3)))
    assert [each.ref for each in found] == ["a:1"] * 3
    assert models.models() == found[:1]


def test_the_long_context_of_llama_3_is_the_same_from_both_formats(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
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
    folder = import_model(models, str(tmp_path / "source"))
    file = import_model(models, str(tmp_path / "a.gguf"))
    assert read_gguf(GgufFile(tmp_path / "a.gguf")).config.rope_factors == pytest.approx(factors)
    assert answers(folder) != answers(tiny)
    for mine, other in zip(answers(file), answers(folder), strict=True):
        assert mine[:3] == other[:3]


def test_a_gguf_file_of_another_family_is_refused_by_name(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf", architecture="mamba")
    with pytest.raises(ModelImportError, match="'mamba' model; only the llama family"):
        import_model(models, str(tmp_path / "a.gguf"))
    assert models.models() == []


def test_a_form_that_the_device_cannot_run_is_refused(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    with pytest.raises(ModelImportError, match="'int8' is no form for cuda"):
        import_model(models, str(tmp_path / "a.gguf"), form="int8", device="cuda")
    with pytest.raises(ModelImportError, match="cpu or cuda"):
        import_model(models, str(tmp_path / "a.gguf"), device="tpu")


def test_a_cuda_version_says_that_nothing_has_compared_it(
    models: ModelStore, tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gguf(llama, tiny.path, tmp_path / "a.gguf")
    version = import_model(models, str(tmp_path / "a.gguf"), device="cuda")
    assert (version.manifest.form, version.manifest.device) == ("fp16", "cuda")
    assert version.manifest.quality["compared_with"].startswith("nothing")
