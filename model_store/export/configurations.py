"""Writes the configurations that stand beside a llama's graph."""

import json
from pathlib import Path

from model_store.export.genai_config import genai_config, hugging_face_config
from model_store.export.llama import LlamaConfig
from model_store.export.llama_graph import CUDA_FORM
from model_store.tokenizer import GENAI_CONFIG_FILE

CONFIG_FILE = "config.json"


def write_configurations(config: LlamaConfig, folder: Path, *, form: str) -> None:
    """Write what onnxruntime-genai and Hugging Face's libraries ask of a folder."""
    for name, record in (
        (GENAI_CONFIG_FILE, genai_config(config, on_cuda=form == CUDA_FORM)),
        (CONFIG_FILE, hugging_face_config(config)),
    ):
        (folder / name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
