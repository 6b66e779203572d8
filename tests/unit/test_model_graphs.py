"""The exporter: what it writes computes what the weights say, in every form and from any source."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

from contract.errors import DeviceUnavailableError, InvalidModelError, ModelImportError
from model_store.export.bert_graph import write_bert_graph
from model_store.export.llama import Llama
from model_store.export.llama_graph import write_llama_graph
from model_store.export.quantization import quantize_blocks
from model_store.export.weights import MemoryWeights
from model_store.importing.exactness import check_exactness, compare
from model_store.importing.gqa_to_paged import rewrite_config, rewrite_graph
from model_store.importing.publish_bert import embed
from model_store.importing.quality import measure_quality
from model_store.importing.reference_bert import reference_embeddings
from model_store.importing.reference_llama import reference_logits
from model_store.importing.safetensors_file import SafetensorsFiles
from model_store.manifest import ModelVersion
from model_store.paged_session import PagedSession
from model_store.runtime import available_providers, open_session
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from model_store.tiny_bert import random_bert
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE, TextTokenizer
from tests.support.gqa_folder import write_gqa_folder
from tests.support.models import llama_weights, write_safetensors
from tests.support.token_texts import TEXTS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    return ModelStore(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def tiny(store: ModelStore) -> ModelVersion:
    return write_tiny_llama(store)


@pytest.fixture(scope="module")
def llama(tiny: ModelVersion) -> Llama:
    return random_llama(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))


def changed(llama: Llama, **arrays: np.ndarray) -> Llama:
    names = {key.replace("__", "."): value for key, value in arrays.items()}
    return dataclasses.replace(llama, weights=MemoryWeights({**llama_weights(llama), **names}))


def open_graph(folder: Path) -> PagedSession:
    return PagedSession(folder / "model.onnx", rows=4, row_tokens=128)


def test_logits_equal_the_reference_however_tokens_arrive(tiny: ModelVersion, llama: Llama) -> None:
    found = compare(open_graph(tiny.path), TEXTS, reference_logits(llama, TEXTS))
    assert found.max_logit_error < 1e-4
    assert found.max_logit > 5
    # Each of the four ways feeds every token, save those rows too short to decode.
    assert found.positions == 4 * sum(map(len, TEXTS)) - 1


def test_a_tied_llama_shares_one_matrix(tmp_path: Path, llama: Llama) -> None:
    tied = dataclasses.replace(llama, config=dataclasses.replace(llama.config, tied=True))
    write_llama_graph(tied, tmp_path)
    found = compare(open_graph(tmp_path), TEXTS, reference_logits(tied, TEXTS))
    assert found.is_exact
    untied = tmp_path / "untied"
    untied.mkdir()
    write_llama_graph(llama, untied)
    sizes = [(each / "model.onnx.data").stat().st_size for each in (tmp_path, untied)]
    assert sizes[0] < sizes[1]


def test_a_wrong_weight_is_found_by_the_import(tiny: ModelVersion, llama: Llama) -> None:
    weight = llama.weights.read("1.k").copy()
    weight[3, 5] += 0.01
    with pytest.raises(ModelImportError, match="off its reference"):
        check_exactness(
            open_graph_for_texts(tiny), changed(llama, **{"1__k": weight}), load_tokenizer(tiny)
        )


def test_not_a_number_is_found_by_the_import(tmp_path: Path, llama: Llama) -> None:
    weight = llama.weights.read("1.down").copy()
    weight[0, 0] = np.nan
    write_llama_graph(changed(llama, **{"1__down": weight}), tmp_path)
    assert not compare(open_graph(tmp_path), TEXTS, reference_logits(llama, TEXTS)).is_exact


def test_the_int8_form_is_measured_and_close(
    tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_graph(llama, tmp_path, form="int8")
    exact, rounded = open_graph_for_texts(tiny), open_graph_for_texts_in(tmp_path)
    measured = measure_quality(exact, rounded, load_tokenizer(tiny))
    assert 0 < measured["kl_mean"] < 0.02
    assert 0.9 <= measured["top1_agreement"] < 1
    assert (tmp_path / "model.onnx.data").stat().st_size < (
        tiny.path / "model.onnx.data"
    ).stat().st_size


def test_a_tied_int8_llama_reads_its_embedding_from_the_output_matrix(
    tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    config = dataclasses.replace(llama.config, tied=True)
    tied = dataclasses.replace(llama, config=config)
    write_llama_graph(tied, tmp_path, form="int8")
    found = compare(open_graph(tmp_path), TEXTS, reference_logits(tied, TEXTS))
    assert found.max_logit_error < 0.1 * found.max_logit


def test_a_form_that_is_too_far_off_is_refused(
    tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    weight = llama.weights.read("1.down") * np.float32(1.5)
    write_llama_graph(changed(llama, **{"1__down": weight}), tmp_path)
    with pytest.raises(ModelImportError, match="too far from fp32"):
        measure_quality(
            open_graph_for_texts(tiny), open_graph_for_texts_in(tmp_path), load_tokenizer(tiny)
        )


def test_an_unknown_form_is_refused(tmp_path: Path, llama: Llama) -> None:
    with pytest.raises(ModelImportError, match="fp32, packed, int8, fp16"):
        write_llama_graph(llama, tmp_path, form="int2")


def test_the_cuda_form_is_half_as_large_and_uses_the_paged_operator(
    tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_llama_graph(llama, tmp_path, form="fp16")
    model = onnx.load(str(tmp_path / "model.onnx"))
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("PagedAttention") == llama.config.layers
    assert "If" not in operators
    types = {each.type.tensor_type.elem_type for each in model.graph.output}
    assert types == {onnx.TensorProto.FLOAT16}


def test_blocks_that_were_8_bit_before_come_back_without_loss() -> None:
    random = np.random.default_rng(1)
    blocks = random.integers(-127, 128, (8, 4, 32))
    blocks[..., 0] = 127
    scales = random.uniform(0.01, 1, (8, 4)).astype(np.float16).astype(np.float32)
    matrix = (blocks * scales[..., None]).astype(np.float32).reshape(8, 128)
    found, found_scales = quantize_blocks(matrix)
    np.testing.assert_array_equal(found.astype(np.int32) - 128, blocks)
    np.testing.assert_allclose(found_scales, scales, rtol=1e-6)


def test_a_block_of_zeros_stays_zero() -> None:
    blocks, scales = quantize_blocks(np.zeros((1, 32), np.float32))
    assert (blocks == 128).all()
    assert (scales == 0).all()


def test_the_same_weights_give_the_same_files(tmp_path: Path, store: ModelStore) -> None:
    again = ModelStore(tmp_path)
    for write in (write_tiny_llama, write_tiny_bert):
        assert write(again).digest == write(store).digest


def test_a_decoder_with_an_ordinary_cache_is_rewritten_to_the_paged_one(
    tmp_path: Path, tiny: ModelVersion, llama: Llama
) -> None:
    write_gqa_folder(llama, tiny.path, tmp_path)
    path = tmp_path / "model.onnx"
    model = onnx.load(str(path), load_external_data=False)
    assert rewrite_graph(model, llama.config.head_size) == llama.config.layers
    onnx.save(model, str(path))
    # What computed attention masks has no reader any more.
    assert "attention_mask" not in str(model.graph)
    found = compare(open_graph(tmp_path), TEXTS, reference_logits(llama, TEXTS))
    assert found.is_exact
    config = json.loads((tmp_path / "genai_config.json").read_text())
    rewrite_config(config, llama.config.layers)
    assert config == json.loads((tiny.path / "genai_config.json").read_text())


def test_an_encoder_equals_its_reference_alone_and_padded(
    tmp_path: Path, store: ModelStore
) -> None:
    version = write_tiny_bert(store)
    bert = random_bert(Tokenizer.from_file(str(version.path / TOKENIZER_FILE)))
    write_bert_graph(bert, tmp_path)
    session = open_session(tmp_path / "model.onnx")
    texts = [[2, 9, 3], [2, 40, 41, 42, 43, 44, 3], [2, 3]]
    expected = reference_embeddings(bert, texts)
    np.testing.assert_allclose(embed(session, texts), expected, atol=1e-5)
    for text, each in zip(texts, expected, strict=True):
        np.testing.assert_allclose(embed(session, [text])[0], each, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)


def test_cuda_is_refused_where_there_is_none(tiny: ModelVersion) -> None:
    if "CUDAExecutionProvider" in available_providers():
        pytest.skip("this installation has CUDA")
    with pytest.raises(DeviceUnavailableError, match="cuda was asked for"):
        open_session(tiny.path / "model.onnx", device="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_a_device_that_is_none_is_refused(tiny: ModelVersion, device: str) -> None:
    with pytest.raises(DeviceUnavailableError):
        open_session(tiny.path / "model.onnx", device=device)


def test_a_graph_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(InvalidModelError, match=r"model\.onnx cannot be loaded"):
        open_session(tmp_path / "model.onnx")


def test_safetensors_of_every_float_type_are_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"x": np.array([[1.5, -2]], np.float32)})
    np.testing.assert_array_equal(
        SafetensorsFiles([tmp_path / "a.safetensors"]).tensor("x"), [[1.5, -2]]
    )
    for kind, data in (("BF16", b"\xc0\x3f\x00\xc0"), ("F16", b"\x00\x3e\x00\xc0")):
        header = json.dumps({"x": {"dtype": kind, "shape": [2], "data_offsets": [0, 4]}}).encode()
        path = tmp_path / kind
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        np.testing.assert_array_equal(SafetensorsFiles([path]).tensor("x"), [1.5, -2])


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0{}"[:9], b"\x04\0\0\0\0\0\0\0null"],
)
def test_a_file_that_is_not_safetensors_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelImportError, match=r"bad\.safetensors is not a safetensors file"):
        SafetensorsFiles([path])


def test_a_tensor_that_lies_outside_its_file_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    with pytest.raises(ModelImportError, match="outside the file"):
        SafetensorsFiles([path])


def load_tokenizer(version: ModelVersion) -> TextTokenizer:
    return TextTokenizer.load(version.path)


def open_graph_for_texts(version: ModelVersion) -> PagedSession:
    return open_graph_for_texts_in(version.path)


def open_graph_for_texts_in(folder: Path) -> PagedSession:
    return PagedSession(folder / "model.onnx", rows=4, row_tokens=512)
