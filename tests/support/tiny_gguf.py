"""A GGUF file of some kilobytes, written byte by byte so that each field can be wrong."""

import struct
from collections.abc import Mapping
from typing import Any

U32, F32, TEXT, LIST, U64 = 4, 6, 8, 9, 10
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", 5: "i", F32: "f", 7: "?", U64: "Q", 11: "q"}
_HIDDEN, _WIDE = 8, 16

#: Name -> (type, value); the value of a list is (type of its items, items).
Fields = Mapping[str, tuple[int, Any]]
TOKENS = ("<|end|>", *(chr(code) for code in range(33, 127)), "he", "Ġ")

FIELDS: Fields = {
    "general.architecture": (TEXT, "llama"),
    "general.alignment": (U32, 32),
    "llama.block_count": (U32, 1),
    "llama.context_length": (U32, 64),
    "llama.embedding_length": (U32, _HIDDEN),
    "llama.feed_forward_length": (U32, _WIDE),
    "llama.attention.head_count": (U32, 2),
    "llama.attention.head_count_kv": (U32, 1),
    "llama.attention.key_length": (U32, 4),
    "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
    "llama.rope.freq_base": (F32, 10000.0),
    "llama.rope.dimension_count": (U32, 4),
    "llama.rope.scaling.type": (TEXT, "none"),
    "tokenizer.ggml.model": (TEXT, "gpt2"),
    "tokenizer.ggml.pre": (TEXT, "gpt-2"),
    "tokenizer.ggml.tokens": (LIST, (TEXT, TOKENS)),
    "tokenizer.ggml.token_type": (LIST, (5, [3, *([1] * (len(TOKENS) - 1))])),
    "tokenizer.ggml.merges": (LIST, (TEXT, ["h e"])),
    "tokenizer.ggml.eos_token_id": (U32, 0),
    "tokenizer.ggml.bos_token_id": (U32, 0),
    "tokenizer.ggml.padding_token_id": (U32, 0),
    "tokenizer.ggml.add_bos_token": (7, True),
    "tokenizer.chat_template": (TEXT, "{% for m in messages %}{{ m.content }}{% endfor %}"),
}
#: Name -> the columns, then the rows.
TENSORS: Mapping[str, tuple[int, ...]] = {
    "token_embd.weight": (_HIDDEN, len(TOKENS)),
    "output_norm.weight": (_HIDDEN,),
    "blk.0.attn_norm.weight": (_HIDDEN,),
    "blk.0.attn_q.weight": (_HIDDEN, 8),
    "blk.0.attn_k.weight": (_HIDDEN, 4),
    "blk.0.attn_v.weight": (_HIDDEN, 4),
    "blk.0.attn_output.weight": (8, _HIDDEN),
    "blk.0.ffn_norm.weight": (_HIDDEN,),
    "blk.0.ffn_gate.weight": (_HIDDEN, _WIDE),
    "blk.0.ffn_up.weight": (_HIDDEN, _WIDE),
    "blk.0.ffn_down.weight": (_WIDE, _HIDDEN),
}


def header(fields: Fields = FIELDS, tensors: Mapping[str, tuple[int, ...]] = TENSORS) -> bytes:
    """All but the tensors' own bytes; every tensor is F32, one behind the other."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(fields))]
    for name, (kind, value) in fields.items():
        parts += [_text(name), struct.pack("<I", kind), _value(kind, value)]
    offset = 0
    for name, shape in tensors.items():
        parts += [_text(name), struct.pack(f"<I{len(shape)}Q", len(shape), *shape)]
        parts.append(struct.pack("<IQ", 0, offset % 2**64))
        offset += _bytes(shape)
    return b"".join(parts)


def tiny_gguf(fields: Fields = FIELDS, tensors: Mapping[str, tuple[int, ...]] = TENSORS) -> bytes:
    """The file; its weights are all 0.0078125."""
    head = header(fields, tensors)
    size = sum(_bytes(shape) for shape in TENSORS.values())
    return head + bytes(-len(head) % 32) + struct.pack("<f", 2**-7) * (size // 4)


def _bytes(shape: tuple[int, ...]) -> int:
    total = 4
    for each in shape:
        total *= each
    return -(-total // 32) * 32


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    if kind == TEXT:
        return _text(value)
    if kind == LIST:
        inner, items = value
        packed = b"".join(_value(inner, item) for item in items)
        return struct.pack("<IQ", inner, len(items)) + packed
    return struct.pack(f"<{_FORMS[kind]}", value)
