"""The model card: ``README.md`` of a version.

It holds nothing that depends on the machine or the moment, because it is part of the digest;
what was measured is in the manifest.
"""

from pathlib import Path

from model_store.manifest import Manifest

CARD_FILE = "README.md"
_FORMS = {
    "fp32": "32-bit floats: computes exactly what the weights say.",
    "packed": (
        "4-bit blocks as the source holds them, times 32-bit floats: computes exactly what the"
        " weights say, in a third of the memory."
    ),
    "int8": (
        "8-bit weights and activations: faster, and its answers may differ"
        " from those of fp32. How much was measured at import; see `millrace models show`."
    ),
    "fp16": (
        "16-bit floats, for a GPU. This form has not been compared with another: only a GPU can"
        " run it. Its golden prompts are those of the exact form, as far as that was sure of them."
    ),
}
_SOURCE_ROWS = (
    ("title", "Model"),
    ("origin", "Origin"),
    ("license", "License"),
    ("package", "Package"),
    ("file", "File"),
    ("sha256", "sha256"),
)


def write_model_card(folder: Path, name: str, manifest: Manifest) -> None:
    """Write the card of a version that is about to be added."""
    title = manifest.source.get("title", name)
    facts = [
        f"- {label}: {manifest.source[key]}"
        for key, label in _SOURCE_ROWS
        if key in manifest.source
    ]
    limit = f"- Context: {manifest.context_length} tokens"
    if manifest.dimensions:
        limit += f"; embeddings of {manifest.dimensions} numbers, of length 1"
    lines = [
        f"# {title}",
        "",
        f"Task: {manifest.task}. Form: {manifest.form}. Device: {manifest.device}.",
        "",
        *facts,
        limit,
        "",
        "## Form",
        "",
        _FORMS.get(manifest.form, "As it was given."),
        "",
        "## Validation",
        "",
        _validation(manifest),
        "",
    ]
    (folder / CARD_FILE).write_text("\n".join(lines), encoding="utf-8")


def _validation(manifest: Manifest) -> str:
    if not manifest.quality:
        return "Not compared with a reference: the files were taken as they are."
    return (
        "Before this version appeared, the exact form of its weights was compared with a forward"
        " pass written in numpy, and known questions were answered; `quality` and `golden` in"
        " `manifest.json` hold the figures and the answers."
    )
