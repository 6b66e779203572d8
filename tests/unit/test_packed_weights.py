"""What a GGUF file holds in 4 bits stays so in the packed form, and computes the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from gguf import GGMLQuantizationType
from tokenizers import Tokenizer

from contract.errors import ModelImportError
from model_store.export.llama import Llama
from model_store.export.llama_graph import PACKED, write_llama_graph
from model_store.export.weights import Float32, FourBitBlocks
from model_store.importing.exactness import compare
from model_store.importing.gguf_file import GgufFile
from model_store.importing.gguf_model import read_gguf
from model_store.importing.reference_llama import reference_logits
from model_store.paged_session import PagedSession
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.models import write_gguf
from tests.support.token_texts import TEXTS

F16, Q8_0 = GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0
Q4_0, Q4_1 = GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models"))).path


def stored(folder: Path, tokenizer_folder: Path, kinds: dict[str, GGMLQuantizationType]) -> Llama:
    """The tiny llama as it comes out of a GGUF file that holds its matrices so."""
    llama = random_llama(Tokenizer.from_file(str(tokenizer_folder / TOKENIZER_FILE)))
    write_gguf(llama, tokenizer_folder, folder / "a.gguf", kinds=kinds)
    return read_gguf(GgufFile(folder / "a.gguf"))


def products(folder: Path, operator: str) -> list[onnx.NodeProto]:
    """The nodes of one kind in the graph in ``folder``."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return [node for node in graph.node if node.op_type == operator]


def floats(blocks: FourBitBlocks) -> Float32:
    """The matrix that blocks stand for."""
    codes = blocks.codes.astype(np.float32) - 8
    values: Float32 = codes * blocks.scales[..., None] + blocks.offsets[..., None]
    return values.reshape(len(codes), -1)


@pytest.mark.parametrize("kind", [Q4_0, Q4_1])
def test_blocks_of_4_bits_are_read_as_they_are_stored(
    tmp_path: Path, tokenizer_folder: Path, kind: GGMLQuantizationType
) -> None:
    llama = stored(tmp_path, tokenizer_folder, dict.fromkeys(MATRICES, kind))
    for part in MATRICES:
        values, blocks = llama.weights.read(f"1.{part}"), llama.weights.blocks(f"1.{part}")
        assert blocks is not None
        assert blocks.codes.max() <= 15
        assert np.abs(floats(blocks) - values).max() < 1e-6
    assert llama.weights.blocks("embedding") is None


@pytest.mark.parametrize(("kind", "gemms"), [(Q4_0, 0), (Q4_1, 1)])
def test_the_packed_form_computes_what_the_blocks_say_without_unpacking_them(
    tmp_path: Path, tokenizer_folder: Path, kind: GGMLQuantizationType, gemms: int
) -> None:
    llama = stored(tmp_path, tokenizer_folder, dict.fromkeys(MATRICES, kind))
    write_llama_graph(llama, tmp_path, form=PACKED)
    matrices = 5 * llama.config.layers  # qkv, o, gate, up and down
    assert len(products(tmp_path, "MatMulNBits")) == matrices
    assert len(products(tmp_path, "Gemm")) == gemms * matrices + 1  # offsets, and the logits
    session = PagedSession(tmp_path / "model.onnx", rows=4, row_tokens=128)
    assert compare(session, TEXTS, reference_logits(llama, TEXTS)).is_exact


def test_matrices_that_are_stored_otherwise_are_floats_and_so_is_what_they_are_joined_with(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    kinds = {"q": Q4_1, "k": F16, "v": Q4_1, "o": Q8_0, "gate": Q4_0, "up": Q4_1}
    llama = stored(tmp_path, tokenizer_folder, kinds)
    write_llama_graph(llama, tmp_path, form=PACKED)
    assert len(products(tmp_path, "MatMulNBits")) == 2 * llama.config.layers  # gate and up
    session = PagedSession(tmp_path / "model.onnx", rows=4, row_tokens=128)
    assert compare(session, TEXTS, reference_logits(llama, TEXTS)).is_exact


def test_a_source_without_such_blocks_cannot_be_packed(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    llama = stored(tmp_path, tokenizer_folder, dict.fromkeys(MATRICES, Q8_0))
    with pytest.raises(ModelImportError, match="use fp32"):
        write_llama_graph(llama, tmp_path, form=PACKED)
