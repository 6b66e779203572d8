"""The last stretch of every sentence encoder's import: write, validate, describe, add."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ModelImportError
from model_store.export.bert import Bert
from model_store.export.bert_graph import OUTPUT, write_bert_graph
from model_store.export.graph import MODEL_FILE
from model_store.importing.model_card import write_model_card
from model_store.importing.reference_bert import reference_embeddings
from model_store.importing.task import ImportTask
from model_store.importing.texts import EXACTNESS, QUALITY
from model_store.manifest import GoldenEmbedding, Manifest, ModelVersion
from model_store.runtime import Session, open_session
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TextTokenizer

_TOLERANCE = 1e-5
"""Largest error of a component of a unit vector."""

_TEXTS = (*EXACTNESS, *QUALITY[:2])
_GOLDEN = 2


def publish_bert(task: ImportTask, folder: Path, bert: Bert) -> ModelVersion:
    """Make a version of ``bert`` from ``folder``, which holds its tokenizer already.

    Raises:
        ModelImportError: the graph does not compute what the weights say.
    """
    task.step("writing the graph")
    write_bert_graph(bert, folder)
    tokenizer = TextTokenizer.load(folder)
    task.step("comparing embeddings with the reference")
    limit = bert.config.context_length
    texts = [tokenizer.encode(text)[:limit] for text in _TEXTS]
    session = open_session(folder / MODEL_FILE)
    expected = reference_embeddings(bert, texts)
    alone = np.concatenate([embed(session, [text]) for text in texts])
    error = float(max(np.abs(each - expected).max() for each in (alone, embed(session, texts))))
    if not error <= _TOLERANCE:  # NaN too
        raise ModelImportError(
            f"the graph is off its reference by {error:.2g}; this is a fault of the exporter,"
            " please report it"
        )
    manifest = Manifest(
        task="embed",
        form="fp32",
        device=task.device,
        context_length=limit,
        max_token_bytes=max_token_bytes(folder),
        dimensions=bert.config.hidden,
        golden=record_golden_embeddings(session, tokenizer),
        quality={"max_error": float(f"{error:.3g}"), "texts": len(texts)},
        source=task.source,
    )
    write_model_card(folder, task.name, manifest)
    task.step("adding to the store")
    return task.store.add(task.name, folder, manifest)


def embed(
    session: Session, texts: Sequence[Sequence[int]], output: str = OUTPUT
) -> NDArray[np.float32]:
    """Embeddings ``[texts, dimensions]`` of token lists, padded to the longest."""
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    wanted = {name: value for name, value in feeds.items() if name in session.inputs}
    [vectors] = session.run([output], wanted)
    return vectors


def record_golden_embeddings(
    session: Session, tokenizer: TextTokenizer, output: str = OUTPUT
) -> tuple[GoldenEmbedding, ...]:
    """The embeddings of two texts, each embedded alone."""
    goldens = []
    for text in EXACTNESS[:_GOLDEN]:
        vector = embed(session, [tokenizer.encode(text)], output)[0]
        rounded = tuple(round(float(each), 7) for each in vector)
        goldens.append(GoldenEmbedding(input={"texts": [text]}, embedding=rounded))
    return tuple(goldens)
