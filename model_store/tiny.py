"""The tiny models that tests and first steps run on."""

from model_store.tiny_bert import write_tiny_bert
from model_store.tiny_llama import write_tiny_llama

__all__ = ["write_tiny_bert", "write_tiny_llama"]
