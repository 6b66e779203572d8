"""Models that must be there before a worker can serve them."""

import time

from contract.errors import UnknownModelError
from contract.settings import Settings
from millrace.up.screen import Screen


def ensure_models(settings: Settings, screen: Screen) -> str | None:
    """Import what MILLRACE_MODEL names and the store lacks; the first that can ``generate``.

    Raises:
        UnknownModelError: a model is missing and there is nowhere to import it from.
        ModelImportError: an import failed.
    """
    from model_store import ModelStore
    from model_store.importing.catalog import CATALOG

    store = ModelStore(settings.models_dir)
    speaker = None
    for ref in settings.model:
        began_s = time.monotonic()
        try:
            version = store.resolve(ref)
            what = "is here"
        except UnknownModelError:
            if ref not in CATALOG:
                raise
            from model_store.importing.pipeline import import_model

            with screen.progress(f"importing {ref}") as progress:
                version = import_model(store, ref, progress)
            what = f"imported into {settings.models_dir}"
        megabytes = sum(each.bytes for each in version.manifest.files.values()) / 1e6
        screen.done(
            f"model {version.ref} ({version.manifest.form}, {megabytes:.0f} MB) {what}",
            time.monotonic() - began_s,
            event="model",
            model=version.ref,
        )
        if speaker is None and version.manifest.task == "generate":
            speaker = ref
    return speaker
