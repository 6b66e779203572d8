"""The last stretch of every import: write, validate, describe, add to the store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model_store.export.graph import MODEL_FILE
from model_store.export.llama import Llama
from model_store.export.llama_folder import write_llama_folder
from model_store.importing.golden import GOLDEN_TOKENS, QUESTIONS, record_goldens
from model_store.manifest import Manifest, ModelVersion
from model_store.paged_session import PagedSession
from model_store.store import ModelStore
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TextTokenizer

Progress = Callable[[str, float | None], None]
"""Called with the name of a step and how much of it is done (0 to 1, or None: unknown)."""


def no_progress(step: str, fraction: float | None) -> None:
    """Tells nobody."""


def publish_llama(
    store: ModelStore,
    name: str,
    folder: Path,
    llama: Llama,
    *,
    form: str,
    source: Mapping[str, Any],
    progress: Progress = no_progress,
) -> ModelVersion:
    """Make a version of ``llama`` in ``folder``, which holds its tokenizer already.

    Raises:
        ModelImportError: the written graph does not compute what the weights say.
    """
    progress("writing the graph", None)
    write_llama_folder(llama, folder, form=form)
    tokenizer = TextTokenizer.load(folder)
    progress("recording golden answers", None)
    longest = max(len(text) for text in QUESTIONS) + 256 + GOLDEN_TOKENS
    session = PagedSession(folder / MODEL_FILE, rows=len(QUESTIONS), row_tokens=longest)
    manifest = Manifest(
        task="generate",
        form=form,
        device="cpu",
        context_length=llama.config.context_length,
        max_token_bytes=max_token_bytes(folder),
        has_chat_template=tokenizer.has_chat_template,
        golden=record_goldens(session, tokenizer, form=form),
        source=source,
    )
    return store.add(name, folder, manifest)
