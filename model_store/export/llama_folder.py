"""Writes everything but the tokenizer that a llama's folder holds."""

import json
from pathlib import Path

from model_store.export.genai_config import genai_config, hugging_face_config
from model_store.export.llama import Llama
from model_store.export.llama_graph import CUDA_FORM, write_llama_graph
from model_store.tokenizer import GENAI_CONFIG_FILE

CONFIG_FILE = "config.json"


def write_llama_folder(llama: Llama, folder: Path, *, form: str) -> None:
    """Write the graph, its weights and both configurations. Raises ModelImportError."""
    write_llama_graph(llama, folder, form=form)
    for name, record in (
        (GENAI_CONFIG_FILE, genai_config(llama.config, on_cuda=form == CUDA_FORM)),
        (CONFIG_FILE, hugging_face_config(llama.config)),
    ):
        (folder / name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
