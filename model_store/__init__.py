"""Versioned models on disk: import, export to ONNX, validate, promote, roll back.

The front and the workers share this package; only an import needs ``onnx`` and ``gguf``.
"""

from model_store.manifest import GoldenEmbedding, GoldenPrompt, Manifest, ModelVersion
from model_store.store import ModelStore

__all__ = ["GoldenEmbedding", "GoldenPrompt", "Manifest", "ModelStore", "ModelVersion"]
