"""Takes folders with a ready ONNX model: generators and sentence encoders."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx

from contract.errors import ModelImportError
from model_store.export.genai_config import session_options
from model_store.export.graph import FLOAT16, MODEL_FILE
from model_store.export.numbers import require_whole
from model_store.importing.golden import (
    GOLDEN_TOKENS,
    QUESTIONS,
    answer_questions,
    prepare_questions,
    record_goldens,
)
from model_store.importing.gqa_to_paged import is_paged, rewrite_config, rewrite_graph
from model_store.importing.model_card import write_model_card
from model_store.importing.task import ImportTask
from model_store.json_file import read_object
from model_store.manifest import MANIFEST_NAME, GoldenPrompt, Manifest, ModelVersion
from model_store.onnx_safety import check_onnx_files
from model_store.paged_session import PagedSession
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import GENAI_CONFIG_FILE, TextTokenizer
from model_store.verify import tabulate

_CARD_FILE = "README.md"


def publish_onnx_generate(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    """Take a generator for onnxruntime-genai; one without a paged cache is rewritten for the CPU.

    Raises:
        ModelImportError: the model is not for the device, or cannot be rewritten.
    """
    task.step("copying the model")
    copy_files(path, folder)
    return finish_generate(task, folder)


def finish_generate(task: ImportTask, folder: Path) -> ModelVersion:
    """Make a version of the generator in the staging ``folder``."""
    config = read_object(folder / GENAI_CONFIG_FILE)
    try:
        context_length = int(config["model"]["context_length"])
        paged, file_name = is_paged(config), config["model"]["decoder"]["filename"]
        head_size = int(config["model"]["decoder"]["head_size"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelImportError(
            f"{GENAI_CONFIG_FILE} does not describe a decoder: {error!r}"
        ) from error
    require_whole("context_length", context_length, least=1, most=1 << 24)
    require_whole("head_size", head_size, least=1, most=1 << 10)
    others = set(config["model"]) & {"encoder", "vision", "speech", "embedding"}
    if others or "pipeline" in config["model"]["decoder"]:
        raise ModelImportError(f"only a plain decoder can be served, not {sorted(others)}")
    if file_name != MODEL_FILE or not (folder / MODEL_FILE).is_file():
        raise ModelImportError(f"the decoder must be in {MODEL_FILE}, not in {file_name!r}")
    graph_path = folder / MODEL_FILE
    model = onnx.load(str(graph_path), load_external_data=False)
    for_cuda = any(node.op_type == "PagedAttention" for node in model.graph.node)
    if for_cuda != (task.device == "cuda"):
        raise ModelImportError(
            f"the graph runs on {'CUDA' if for_cuda else 'the CPU'} only; import it for that device"
        )
    if not paged:
        task.step("rewriting attention for a paged cache")
        try:
            rewrite_config(config, rewrite_graph(model, head_size))
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise ModelImportError(f"the graph cannot be rewritten: {error!r}") from error
        onnx.save(model, str(graph_path))
    # How a session runs is this machine's business, not that of whoever made the model.
    config["model"]["decoder"]["session_options"] = session_options(on_cuda=for_cuda)
    text = json.dumps(config, indent=1) + "\n"
    (folder / GENAI_CONFIG_FILE).write_text(text, encoding="utf-8")
    tokenizer = TextTokenizer.load(folder)
    manifest = Manifest(
        task="generate",
        form=task.form,
        device=task.device,
        context_length=context_length,
        max_token_bytes=max_token_bytes(folder),
        has_chat_template=tokenizer.has_chat_template,
        golden=() if for_cuda else _answer(task, graph_path, tokenizer),
        source=task.source,
    )
    write_model_card(folder, task.name, manifest)
    task.step("adding to the store")
    return task.store.add(task.name, folder, manifest)


def copy_files(path: Path, folder: Path) -> None:
    """Copy what a version may hold. Raises InvalidModelError for links and unsafe graphs."""
    check_onnx_files(path)
    for name in tabulate(path):
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / name, folder / name)
    # Both are written anew.
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    (folder / _CARD_FILE).unlink(missing_ok=True)


def detect_form(path: Path) -> str:
    """The form of the graph in a folder, by its operators and the type of its cache."""
    check_onnx_files(path)
    model = onnx.load(str(path / MODEL_FILE), load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            bits = next((each.i for each in node.attribute if each.name == "bits"), 4)
            return f"int{bits}"
    tensors = (*model.graph.input, *model.graph.output)
    half = any(each.type.tensor_type.elem_type == FLOAT16 for each in tensors)
    return "fp16" if half else "fp32"


def _answer(
    task: ImportTask, graph_path: Path, tokenizer: TextTokenizer
) -> tuple[GoldenPrompt, ...]:
    task.step("recording golden answers")
    prompts = [len(answer.prompt) for answer in prepare_questions(tokenizer)]
    session = PagedSession(graph_path, rows=len(QUESTIONS), row_tokens=max(prompts) + GOLDEN_TOKENS)
    answers = answer_questions(session, tokenizer)
    again = answer_questions(session, tokenizer, together=False)
    if not np.isfinite([margin for answer in answers for margin in answer.margins]).all():
        raise ModelImportError("the model's logits are not finite numbers")
    return record_goldens(answers, again, tokenizer, form=task.form)
