"""The batching inference engine. It knows models and requests; it knows no job and no queue."""

from workers.engine.fitness import check_fitness
from workers.engine.opening import Engine, open_engine
from workers.engine.requests import (
    EmbeddingRequest,
    EmbeddingResult,
    GenerationRequest,
    GenerationResult,
)
from workers.engine.run import Run

__all__ = [
    "EmbeddingRequest",
    "EmbeddingResult",
    "Engine",
    "GenerationRequest",
    "GenerationResult",
    "Run",
    "check_fitness",
    "open_engine",
]
