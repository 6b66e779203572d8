"""From a model version to a running engine."""

from typing import Any

from model_store.manifest import ModelVersion
from workers.engine.engine_thread import EngineThread

Engine = EngineThread[Any, Any]


def open_engine(
    version: ModelVersion, *, slots: int = 0, threads: int = 0, device: str = "cpu"
) -> Engine:
    """Load ``version`` and start its engine thread.

    Args:
        slots: requests in one batch; 0 leaves their number to memory and a measurement.
        threads: of the computation; 0 means one for each core that this process may use.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceUnavailableError: the device is not there, or the runtime fell back to another.
        InvalidModelError: the version cannot be loaded.
        MissingDependencyError: the library that runs this kind of model is not installed.
    """
    # Each kind needs a library that the other does not.
    if version.manifest.task == "embed":
        from workers.engine.embedding import EmbeddingEngine

        return EmbeddingEngine(version, slots=slots, threads=threads, device=device)
    from workers.engine.generation import GenerationEngine
    from workers.engine.generation_plan import plan_generation

    return GenerationEngine(
        version, plan_generation(version, slots=slots, threads=threads, device=device)
    )
