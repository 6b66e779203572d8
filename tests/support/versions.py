"""Model versions of one file, for tests of the store."""

from model_store.manifest import Manifest, ModelVersion
from model_store.store import ModelStore

MANIFEST = Manifest(
    task="generate", form="fp32", device="cpu", context_length=128, max_token_bytes=8
)


def add(store: ModelStore, content: str, name: str = "m") -> ModelVersion:
    """Add a version whose one file holds `content`."""
    with store.stage(name) as folder:
        (folder / "weights.bin").write_text(content)
        (folder / "inner").mkdir()
        (folder / "inner" / "more.txt").write_text("more")
        return store.add(name, folder, MANIFEST)
