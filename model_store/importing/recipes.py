"""What to do with each kind of source, and how to tell the kinds apart."""

from collections.abc import Callable
from pathlib import Path

from contract.errors import ModelImportError
from model_store.export.configurations import CONFIG_FILE
from model_store.export.graph import MODEL_FILE
from model_store.export.llama_graph import CUDA_FORM, EXACT
from model_store.importing.gguf_file import GgufFile
from model_store.importing.gguf_model import read_gguf
from model_store.importing.gguf_tokenizer import write_gguf_tokenizer
from model_store.importing.hugging_face import (
    copy_tokenizer,
    read_bert_folder,
    read_config,
    read_llama_folder,
    refuse_llama_reasons,
)
from model_store.importing.onnx_encoder import publish_onnx_encoder
from model_store.importing.onnx_folder import detect_form, publish_onnx_generate
from model_store.importing.publish_bert import publish_bert
from model_store.importing.publish_llama import publish_llama
from model_store.importing.task import ImportTask
from model_store.importing.with_builder import publish_with_builder
from model_store.manifest import ModelVersion
from model_store.tokenizer import GENAI_CONFIG_FILE

_GGUF_MAGIC = b"GGUF"


def recognise(path: Path) -> str:
    """The kind of source at ``path``: a key of ``RECIPES``. Raises ModelImportError."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC:
                return "gguf"
        raise ModelImportError(f"{path} is not a GGUF file; give its folder for other formats")
    if (path / GENAI_CONFIG_FILE).is_file():
        return "onnx-generate"
    if (path / MODEL_FILE).is_file():
        return "onnx-embed"
    if not (path / CONFIG_FILE).is_file():
        raise ModelImportError(
            f"{path} holds no model: neither {GENAI_CONFIG_FILE}, {MODEL_FILE} nor {CONFIG_FILE}"
        )
    config = read_config(path)
    if not refuse_llama_reasons(config):
        return "llama"
    return "bert" if config.get("architectures") == ["BertModel"] else "builder"


def default_form(kind: str, path: Path, device: str) -> str:
    """The form that a source is imported in when none is asked for."""
    if kind.startswith("onnx-"):
        return detect_form(path)
    return CUDA_FORM if device == "cuda" and kind != "bert" else EXACT


def _from_gguf(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    task.step("reading the weights")
    file = GgufFile(path)
    llama = read_gguf(file)
    write_gguf_tokenizer(file, folder, context_length=llama.config.context_length)
    return publish_llama(task, folder, llama)


def _from_llama_folder(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    task.step("reading the weights")
    llama = read_llama_folder(path)
    copy_tokenizer(path, folder)
    return publish_llama(task, folder, llama)


def _from_bert_folder(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    if task.form != "fp32":
        raise ModelImportError(f"an embedding model is written as fp32, not as {task.form!r}")
    task.step("reading the weights")
    bert = read_bert_folder(path)
    copy_tokenizer(path, folder)
    return publish_bert(task, folder, bert)


Recipe = Callable[[ImportTask, Path, Path], ModelVersion]
"""Makes a version from the source at a path, in a staging folder."""

RECIPES: dict[str, Recipe] = {
    "gguf": _from_gguf,
    "llama": _from_llama_folder,
    "bert": _from_bert_folder,
    "onnx-generate": publish_onnx_generate,
    "onnx-embed": publish_onnx_encoder,
    "builder": publish_with_builder,
}
