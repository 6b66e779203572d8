"""Takes folders with a ready ONNX sentence encoder."""

from pathlib import Path

import numpy as np

from contract.errors import ModelImportError
from model_store.export.graph import MODEL_FILE
from model_store.importing.model_card import write_model_card
from model_store.importing.onnx_folder import copy_files
from model_store.importing.publish_bert import embed, record_golden_embeddings
from model_store.importing.task import ImportTask
from model_store.importing.texts import EXACTNESS
from model_store.json_file import read_object
from model_store.manifest import Manifest, ModelVersion
from model_store.runtime import Session, open_session
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TOKENIZER_CONFIG_FILE, TextTokenizer

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_UNLIMITED = 1 << 24
_TOLERANCE = 1e-4


def publish_onnx_encoder(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    """Take a graph that gives one vector per text, pooling included.

    Raises:
        ModelImportError: it takes other inputs, has no such output, or minds its neighbours.
    """
    task.step("copying the model")
    copy_files(path, folder)
    tokenizer = TextTokenizer.load(folder)
    session = open_session(folder / MODEL_FILE)
    output = _pooled_output(session)
    task.step("checking embeddings")
    limit = _context_length(folder)
    texts = [tokenizer.encode(text)[:limit] for text in EXACTNESS]
    alone = np.concatenate([embed(session, [text], output) for text in texts])
    error = float(np.abs(alone - embed(session, texts, output)).max())
    if not error <= _TOLERANCE:  # NaN too
        raise ModelImportError(f"a text's embedding changes by {error:.2g} with its neighbours")
    manifest = Manifest(
        task="embed",
        form=task.form,
        device=task.device,
        context_length=limit,
        max_token_bytes=max_token_bytes(folder),
        dimensions=alone.shape[1],
        golden=record_golden_embeddings(session, tokenizer, output),
        quality={"max_change_in_batch": float(f"{error:.3g}"), "texts": len(texts)},
        source=task.source,
    )
    write_model_card(folder, task.name, manifest)
    task.step("adding to the store")
    return task.store.add(task.name, folder, manifest)


def _pooled_output(session: Session) -> str:
    pooled: list[str] = [name for name, shape in session.outputs.items() if len(shape) == 2]
    unknown = set(session.inputs) - _INPUTS
    if unknown or "input_ids" not in session.inputs or len(pooled) != 1:
        raise ModelImportError(
            f"an encoder takes {sorted(_INPUTS)} and gives one [texts, dimensions]; this graph"
            f" takes {sorted(session.inputs)} and gives {sorted(session.outputs)}. Pooling must"
            " be a part of the graph"
        )
    if any(isinstance(size, int) for shape in session.inputs.values() for size in shape):
        raise ModelImportError(f"the graph is for one size of batch only: {session.inputs}")
    return pooled[0]


def _context_length(folder: Path) -> int:
    for name, key in (
        ("config.json", "max_position_embeddings"),
        (TOKENIZER_CONFIG_FILE, "model_max_length"),
    ):
        path = folder / name
        limit = read_object(path, ModelImportError).get(key) if path.is_file() else None
        # Some files say "no limit" by a number that is far too great, a float even.
        if type(limit) is int and 0 < limit < _UNLIMITED:
            return limit
    raise ModelImportError(
        "the folder does not say how many tokens fit: give config.json with"
        " max_position_embeddings, or tokenizer_config.json with model_max_length"
    )
