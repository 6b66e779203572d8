"""``millrace models``: the store of models on this machine."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.display import cell
from millrace.cli.invocation import Invocation, JsonGroup, pass_invocation
from millrace.extras import needs

if TYPE_CHECKING:
    from model_store import ModelStore, ModelVersion


@click.group(cls=JsonGroup)
def models() -> None:
    """The models on this machine, in MILLRACE_MODELS_DIR.

    REF is NAME (its production version), NAME@ALIAS or NAME:VERSION.
    """


@models.command("list")
@pass_invocation
def list_models(invocation: Invocation) -> None:
    """List every version, with its quality as measured at import."""
    store = _store(invocation)
    rows = [_row(store, version) for version in store.models()]
    if invocation.as_json:
        invocation.display.listing(rows)
        return
    columns = ("ref", "aliases", "task", "form", "device", "context", "MB", "quality")
    invocation.display.table(
        columns,
        [
            (
                row["ref"],
                row["aliases"],
                row["task"],
                row["form"],
                row["device"],
                row["context_length"],
                round(row["bytes"] / 1e6),
                _short(row["quality"]),
            )
            for row in rows
        ],
        empty="no model yet: `millrace models import smollm2` makes one",
    )


@models.command()
@click.argument("ref")
@pass_invocation
def show(invocation: Invocation, ref: str) -> None:
    """Show one version: where it came from, how good it is, its files."""
    store = _store(invocation)
    version = store.resolve(ref)
    record = _row(store, version) | {
        "path": str(version.path),
        "source": dict(version.manifest.source),
        "golden": len(version.manifest.golden),
        "files": {
            name: {"sha256": each.sha256, "bytes": each.bytes}
            for name, each in version.manifest.files.items()
        },
    }
    if invocation.as_json:
        invocation.display.json(record)
        return
    files = record.pop("files")
    quality = record.pop("quality")
    invocation.display.fields(record)
    invocation.display.fields({f"quality: {name}": each for name, each in quality.items()})
    rows = [(name, each["bytes"], each["sha256"]) for name, each in files.items()]
    invocation.display.table(("file", "bytes", "sha256"), rows, empty="no files")


@models.command("import")
@click.argument("source")
@click.option("--name", help="Its name in the store.  [default: that of the source]")
@click.option(
    "--form",
    type=click.Choice(["fp32", "packed", "int8", "fp16"]),
    help="How weights are kept.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@pass_invocation
def import_(
    invocation: Invocation, source: str, name: str | None, form: str | None, device: str
) -> None:
    """Make a version from SOURCE: smollm2, smollm2-int8, minilm, or the path of a model.

    A path is a GGUF file, a Hugging Face folder or a folder with an ONNX model. The version
    appears once its answers have been compared with the weights' own.
    """
    from millrace.up.screen import Screen

    store = _store(invocation)
    screen = Screen(as_json=False, console=invocation.display.err)
    with needs("import"), screen.progress(f"importing {source}") as progress:
        from model_store.importing.pipeline import import_model

        version = import_model(store, source, progress, name=name, form=form, device=device)
    _tell(invocation, store, version, f"is in {invocation.settings.models_dir}")


@models.command()
@click.argument("refs", nargs=-1, metavar="[REF]...")
@pass_invocation
def verify(invocation: Invocation, refs: tuple[str, ...]) -> None:
    """Check every file of versions (of all, without REF) against its recorded sha256."""
    store = _store(invocation)
    versions = [store.resolve(ref) for ref in refs] or store.models()
    for version in versions:
        with invocation.display.working(f"reading {version.ref}"):
            store.verify(version)
        _tell(invocation, store, version, "is whole")


@models.command()
@click.argument("ref")
@click.option("--alias", default="production", show_default=True)
@pass_invocation
def promote(invocation: Invocation, ref: str, alias: str) -> None:
    """Point an alias at a version."""
    store = _store(invocation)
    _tell(invocation, store, store.promote(ref, alias), f"is {alias}")


@models.command()
@click.argument("name")
@pass_invocation
def rollback(invocation: Invocation, name: str) -> None:
    """Put the previous production version back."""
    store = _store(invocation)
    _tell(invocation, store, store.rollback(name), "is production")


@models.command()
@click.argument("ref")
@pass_invocation
def rm(invocation: Invocation, ref: str) -> None:
    """Remove a version that no alias points at."""
    store = _store(invocation)
    _tell(invocation, store, store.remove(ref), "removed")


def _store(invocation: Invocation) -> "ModelStore":
    with needs("worker"):
        from model_store import ModelStore
    return ModelStore(invocation.settings.models_dir)


def _tell(invocation: Invocation, store: "ModelStore", version: "ModelVersion", what: str) -> None:
    if invocation.as_json:
        invocation.display.json(_row(store, version))
    else:
        invocation.display.text(f"{version.ref} {what}")


def _row(store: "ModelStore", version: "ModelVersion") -> dict[str, Any]:
    manifest = version.manifest
    aliases = store.aliases(version.name)
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.version,
        "aliases": sorted(name for name, number in aliases.items() if number == version.version),
        "task": manifest.task,
        "form": manifest.form,
        "device": manifest.device,
        "context_length": manifest.context_length,
        "dimensions": manifest.dimensions,
        "bytes": sum(each.bytes for each in manifest.files.values()),
        "quality": dict(manifest.quality),
        "digest": version.digest,
        "created_at": manifest.created_at,
    }


def _short(quality: Mapping[str, Any]) -> str:
    """The numbers among the measures; `show` has all of them."""
    measures = {
        name: each
        for name, each in quality.items()
        if isinstance(each, int | float) and not isinstance(each, bool)
    }
    return cell(measures)
