"""One import: what is to be made, and where it goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_store.importing.progress import Progress, no_progress
from model_store.store import ModelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTask:
    """The version to make: ``name`` in ``store``, in a ``form`` for a ``device`` (cpu or cuda).

    ``source`` goes into the manifest as it is; two tasks with equal sources, forms and devices
    would make the same version.
    """

    store: ModelStore
    name: str
    form: str = "fp32"
    device: str = "cpu"
    source: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = no_progress

    def step(self, words: str) -> None:
        """Tell that a step begins whose length is not known."""
        self.progress(words, None)
