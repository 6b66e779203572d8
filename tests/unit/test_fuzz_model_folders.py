"""Folders of models whose files somebody changed: each is read, or refused by an error of ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from model_store.tiny_bert import random_bert
from model_store.tiny_llama import random_llama
from tests.support.fuzz_reader import FuzzReader
from tests.support.fuzzing import Fuzzer, mutated_bytes, mutated_json
from tests.support.gqa_folder import write_gqa_folder
from tests.support.models import write_bert_source, write_llama_source

OURS = (None, "invalid_model", "invalid_request", "model_import_failed", "engine_error")
_ROTATIONS = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_tiny_llama(store)
    write_tiny_bert(store)
    return store


@pytest.fixture(scope="module")
def llama_folder(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    write_llama_source(random_llama(_tokenizer(store, "tiny")), store.resolve("tiny").path, folder)
    _change(folder / "config.json", lambda record: record | {"rope_scaling": _ROTATIONS})
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    return folder


@pytest.fixture(scope="module")
def bert_folder(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    bert = random_bert(_tokenizer(store, "tiny-embed"))
    write_bert_source(bert, store.resolve("tiny-embed").path, folder)
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="module")
def gqa_folder(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gqa")
    write_gqa_folder(random_llama(_tokenizer(store, "tiny")), store.resolve("tiny").path, folder)
    return folder


@pytest.fixture(scope="module")
def encoder_folder(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    shutil.copytree(store.resolve("tiny-embed").path, folder, dirs_exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    return folder


class Changer:
    """Has a folder read while one of its files is something else."""

    def __init__(self, reader: FuzzReader, fuzzer: Fuzzer) -> None:
        self._reader = reader
        self._fuzzer = fuzzer

    def json(self, what: str, path: Path, folder: Path, *, examples: int) -> None:
        """The file's JSON with other values in it."""
        original = path.read_bytes()

        def check(record: Any) -> None:
            path.write_text(json.dumps(record))
            assert self._reader.read(what, folder) in OURS

        try:
            assert self._reader.read(what, folder) is None
            self._fuzzer.run(check, mutated_json(json.loads(original)), examples=examples)
        finally:
            path.write_bytes(original)

    def bytes(self, what: str, path: Path, folder: Path, *, head: int, examples: int) -> None:
        """Other bytes in the file, most of them among its first ``head``."""
        original = path.read_bytes()

        def check(data: bytes) -> None:
            path.write_bytes(data)
            assert self._reader.read(what, folder) in OURS

        try:
            assert self._reader.read(what, folder) is None
            inputs = mutated_bytes(original, interesting=min(head, len(original)))
            self._fuzzer.run(check, inputs, examples=examples)
        finally:
            path.write_bytes(original)


@pytest.fixture
def changer(reader: FuzzReader, fuzzer: Fuzzer) -> Changer:
    return Changer(reader, fuzzer)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_llama_with_other_settings_is_read_or_refused(
    changer: Changer, llama_folder: Path, name: str
) -> None:
    changer.json("read_llama", llama_folder / name, llama_folder, examples=25)
    changer.bytes("read_llama", llama_folder / name, llama_folder, head=500, examples=10)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json"])
def test_a_bert_with_other_settings_is_read_or_refused(
    changer: Changer, bert_folder: Path, name: str
) -> None:
    changer.json("read_bert", bert_folder / name, bert_folder, examples=25)


def test_other_safetensors_are_read_or_refused(
    changer: Changer, llama_folder: Path, bert_folder: Path
) -> None:
    changer.json(
        "read_llama", llama_folder / "model.safetensors.index.json", llama_folder, examples=15
    )
    weights = bert_folder / "model.safetensors"
    changer.bytes("read_bert", weights, bert_folder, head=800, examples=25)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("model", ["tiny", "tiny-embed"])
def test_other_tokenizers_are_read_or_refused(
    changer: Changer, store: ModelStore, tmp_path: Path, name: str, model: str
) -> None:
    for each in ("tokenizer.json", "tokenizer_config.json", "genai_config.json"):
        if (store.resolve(model).path / each).is_file():
            shutil.copy(store.resolve(model).path / each, tmp_path / each)
    changer.json("read_tokenizer", tmp_path / name, tmp_path, examples=25)
    changer.bytes("read_tokenizer", tmp_path / name, tmp_path, head=1500, examples=12)


@pytest.mark.parametrize("model", ["tiny", "tiny-embed"])
def test_other_graphs_are_opened_or_refused(
    changer: Changer, store: ModelStore, tmp_path: Path, model: str
) -> None:
    for each in ("model.onnx", "model.onnx.data", "genai_config.json"):
        if (store.resolve(model).path / each).is_file():
            shutil.copy(store.resolve(model).path / each, tmp_path / each)
    changer.bytes("open_onnx", tmp_path / "model.onnx", tmp_path, head=10**6, examples=25)


def test_other_onnx_generators_are_imported_or_refused(changer: Changer, gqa_folder: Path) -> None:
    changer.json("import_onnx", gqa_folder / "genai_config.json", gqa_folder, examples=6)
    changer.bytes("import_onnx", gqa_folder / "model.onnx", gqa_folder, head=10**6, examples=6)


def test_other_onnx_encoders_are_imported_or_refused(
    changer: Changer, encoder_folder: Path
) -> None:
    changer.json("import_onnx", encoder_folder / "config.json", encoder_folder, examples=5)
    changer.bytes(
        "import_onnx", encoder_folder / "model.onnx", encoder_folder, head=10**6, examples=6
    )


def _tokenizer(store: ModelStore, name: str) -> Tokenizer:
    return Tokenizer.from_file(str(store.resolve(name).path / "tokenizer.json"))


def _change(path: Path, change: Any) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
