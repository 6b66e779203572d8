"""``import_model``: from the name or the path of a source to a version in the store."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from contract.errors import ModelImportError
from model_store.aliases import PRODUCTION
from model_store.importing.catalog import CATALOG, NamedModel
from model_store.importing.download import obtain
from model_store.importing.progress import Progress, no_progress
from model_store.importing.recipes import RECIPES, default_form, recognise
from model_store.importing.task import ImportTask
from model_store.manifest import ModelVersion
from model_store.store import ModelStore, name_from, require_name
from model_store.verify import hash_file, tabulate

EXPORTER = 1
"""Rises when the same weights would be written as another graph, so that none is reused."""


def import_model(
    store: ModelStore,
    source: str,
    progress: Progress = no_progress,
    *,
    name: str | None = None,
    form: str | None = None,
    device: str = "cpu",
) -> ModelVersion:
    """Import a model of the catalog by its name, or what lies at a path.

    A path may be a GGUF file, a Hugging Face folder or a folder with a ready ONNX model. The
    version is validated before it appears. A whole version that was made in the same way from
    the same source is returned as it is. The first version of a name goes into production.

    Args:
        name: the model's name in the store; by default that of the catalog or of the file.
        form: ``fp32`` (exact, the default), ``int8``, or ``fp16`` (the default for cuda).
        device: ``cpu`` or ``cuda``: what the version is made for.

    Raises:
        ModelImportError: the source is not there, not supported, or fails validation.
        InvalidModelError: the source is not safe to load.
        MissingDependencyError: this kind of source needs the extra ``export``.
    """
    if device not in ("cpu", "cuda"):
        raise ModelImportError(f"a model is made for cpu or cuda, not for {device!r}")
    if name is not None:
        require_name(name)  # before anything is downloaded for it
    store.sweep()
    model = CATALOG.get(source)
    if model is None:
        return _import_path(
            ImportTask(store=store, name=name or "", device=device, progress=progress),
            Path(source).expanduser(),
            form,
        )
    task = ImportTask(
        store=store,
        name=name or (source if device == "cpu" else f"{source}-{device}"),
        form=form or (model.form if device == "cpu" else default_form(model.kind, Path(), device)),
        device=device,
        source=_describe(model),
        progress=progress,
    )
    return _find_same(task) or _import_named(task, model)


def _import_named(task: ImportTask, model: NamedModel) -> ModelVersion:
    folder = obtain(model.wheel, task.store.sources, task.progress)
    path = folder / model.wheel.files[0].name if model.kind == "gguf" else folder
    return _run(task, model.kind, path)


def _import_path(task: ImportTask, path: Path, form: str | None) -> ModelVersion:
    if not path.exists():
        raise ModelImportError(
            f"{str(path)!r} is neither a path nor a known model; known: {', '.join(CATALOG)}"
        )
    kind = recognise(path)
    task.step("hashing the source")
    record = {
        "kind": kind,
        "file": path.name,
        "sha256": _fingerprint(path, kind),
        "exporter": EXPORTER,
    }
    task = dataclasses.replace(
        task,
        name=task.name or name_from(path.stem if path.is_file() else path.resolve().name),
        form=form or default_form(kind, path, task.device),
        source=record,
    )
    return _find_same(task) or _run(task, kind, path)


def _run(task: ImportTask, kind: str, path: Path) -> ModelVersion:
    with task.store.stage(task.name) as folder:
        return RECIPES[kind](task, path, folder)


def _describe(model: NamedModel) -> dict[str, Any]:
    file = model.wheel.files[0]
    return {
        "kind": model.kind,
        "title": model.title,
        "origin": model.origin,
        "license": model.license,
        "package": model.wheel.requirement,
        "file": file.name,
        "sha256": file.sha256,
        "exporter": EXPORTER,
    }


def _find_same(task: ImportTask) -> ModelVersion | None:
    """A whole version that this task would make again, the newest first."""
    wanted = (task.source, task.form, task.device)
    for version in reversed(task.store.versions(task.name)):
        manifest = version.manifest
        if (manifest.source, manifest.form, manifest.device) == wanted:
            task.step("checking the version that is there")
            if task.store.is_whole(version):
                if PRODUCTION not in task.store.aliases(task.name):
                    task.store.promote(version.ref)
                return version
    return None


def _fingerprint(path: Path, kind: str) -> str:
    """sha256 of a file, or over the sorted hashes of a folder's files.

    What is converted may lie behind links (download caches are made of them); what becomes a
    version as it is may not.
    """
    if path.is_file():
        return hash_file(path)
    if kind.startswith("onnx-"):
        hashes = {name: entry.sha256 for name, entry in tabulate(path).items()}
    else:
        files = (each for each in path.iterdir() if each.is_file())
        hashes = {each.name: hash_file(each) for each in files}
    lines = (f"{digest} {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
