"""Rebuilds a tokenizer from GGUF metadata, without transformers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, processors
from tokenizers import pre_tokenizers as pre

from contract.errors import ModelImportError
from model_store.importing.gguf_file import GgufFile
from model_store.tokenizer import CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_CONTROL, _USER_DEFINED = 3, 4
_LLAMA3 = ("llama-bpe", "llama3")
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_gguf_tokenizer(file: GgufFile, folder: Path, *, context_length: int) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.

    Raises:
        ModelImportError: the file's tokenizer is of a kind that cannot be rebuilt exactly.
    """
    tokens = file.require_list("tokenizer.ggml.tokens", str)
    _build(file, tokens).save(str(folder / TOKENIZER_FILE))
    template = file.optional("tokenizer.chat_template", str)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token_id = file.optional(f"tokenizer.ggml.{key}_token_id", int)
        config[f"{name}_token"] = None if token_id is None else _token(file, tokens, token_id)
    if template:
        config["chat_template"] = template
        (folder / CHAT_TEMPLATE_FILE).write_text(template, encoding="utf-8")
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (folder / TOKENIZER_CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _build(file: GgufFile, tokens: list[str]) -> Tokenizer:
    kind = file.require("tokenizer.ggml.model", str)
    if kind != "gpt2":
        raise ModelImportError(
            f"{file.path} has a {kind!r} tokenizer; from GGUF only byte-level BPE ('gpt2') can be"
            " rebuilt. Import the model's Hugging Face folder instead"
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = []
    for merge in file.require_list("tokenizer.ggml.merges", str):
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise ModelImportError(f"{file.path}: merge {merge!r} is not one of tokens")
        merges.append((left, right))
    is_llama3 = file.optional("tokenizer.ggml.pre", str) in _LLAMA3
    model = models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=is_llama3)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _splitter(file)
    tokenizer.decoder = decoders.ByteLevel()
    types = file.require_list("tokenizer.ggml.token_type", int)
    if len(types) != len(tokens):
        raise ModelImportError(f"{file.path} has {len(types)} types for {len(tokens)} tokens")
    # A control token is not text; one that somebody added is.
    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind == _CONTROL, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    if file.field("tokenizer.ggml.add_bos_token", bool, is_llama3):
        bos = _token(file, tokens, file.require("tokenizer.ggml.bos_token_id", int))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )
    return tokenizer


def _token(file: GgufFile, tokens: Sequence[str], token_id: int) -> str:
    if not 0 <= token_id < len(tokens):
        raise ModelImportError(f"{file.path} names token {token_id} of {len(tokens)}")
    return tokens[token_id]


def _splitter(file: GgufFile) -> pre.PreTokenizer:
    """How text is cut before merging, by the name that llama.cpp gives to each way."""
    name = file.field("tokenizer.ggml.pre", str, "default")
    gpt2 = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    after_regex = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    if name in ("default", "gpt-2"):
        return gpt2
    if name == "smollm":
        return pre.Sequence([pre.Digits(individual_digits=True), gpt2])
    digits = r"\p{N}{1,3}" if name in _LLAMA3 else r"\p{N}"
    if name not in (*_LLAMA3, "qwen2"):
        raise ModelImportError(f"{file.path}: unknown way to split text, {name!r}")
    return pre.Sequence([pre.Split(Regex(_WORDS % digits), "isolated"), after_regex])
