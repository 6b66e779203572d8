"""How many bytes of text one token of a tokenizer can stand for."""

import json
from pathlib import Path
from typing import Any

from model_store.json_file import read_object
from model_store.manifest import UNBOUNDED_TOKEN_BYTES
from model_store.tokenizer import TOKENIZER_FILE

_HARMLESS_NORMALIZERS = {"Prepend", "Replace"}


def max_token_bytes(folder: Path) -> int:
    """The most UTF-8 bytes per token; UNBOUNDED_TOKEN_BYTES when the tokenizer may drop text.

    A BPE tokenizer covers every byte by some token. Others may drop or fold text: WordPiece
    drops spaces and makes one token of any unknown word; a normalizer may shorten; a special
    token may swallow the spaces beside it.
    """
    record = read_object(folder / TOKENIZER_FILE)
    try:
        return _most_bytes(record)
    except (AttributeError, LookupError, TypeError):
        return UNBOUNDED_TOKEN_BYTES  # it is written in a way of which nothing is known


def _most_bytes(record: dict[str, Any]) -> int:
    model, added = record["model"], record.get("added_tokens") or []
    swallows = any(token.get("lstrip") or token.get("rstrip") for token in added)
    if model.get("type") != "BPE" or swallows or _may_shorten(record.get("normalizer")):
        return UNBOUNDED_TOKEN_BYTES
    if "ByteLevel" in json.dumps(record.get("pre_tokenizer")):
        sizes = [len(token) for token in model["vocab"]]  # one character stands for one byte
    elif model.get("byte_fallback"):
        sizes = [len(token.encode()) for token in model["vocab"]]
    else:
        return UNBOUNDED_TOKEN_BYTES
    return max([*sizes, *(len(token["content"].encode()) for token in added)])


def _may_shorten(normalizer: dict[str, Any] | None) -> bool:
    if normalizer is None:
        return False
    parts = normalizer.get("normalizers", [normalizer])
    return any(part["type"] not in _HARMLESS_NORMALIZERS for part in parts)
