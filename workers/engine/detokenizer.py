"""Tokens to text, one token at a time, in whole characters and in linear time."""

import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from model_store.tokenizer import TOKENIZER_FILE, TextTokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_WINDOW_TOKENS = 8  # a character is at most 4 bytes, so at most 4 byte tokens


class Detokenizer(Protocol):
    """The text of one growing sequence of tokens."""

    def push(self, token: int) -> str:
        """Take a token; the characters that are whole now and were not before."""

    def flush(self) -> str:
        """The sequence ends here: U+FFFD for a character that stayed incomplete, if one did."""


class ByteDetokenizer:
    """For byte-level vocabularies: a token is some bytes, and the bytes are UTF-8 text."""

    def __init__(self, token_bytes: Mapping[int, bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(self._token_bytes.get(token, b""))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class WindowDetokenizer:
    """For every other vocabulary: decode the last few tokens, with those before as context.

    The same idea as in text-generation-inference's ``decode_token``: what two decodings of one
    window differ in is the new text. Bytes that never become a character are let through after
    a few tokens, so the window, and with it the time per token, is bounded.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        self._pending.append(token)
        text = self._new_text()
        if not text or text.endswith(_REPLACEMENT):
            return "" if len(self._pending) < _WINDOW_TOKENS else self._turn(text)
        return self._turn(text)

    def flush(self) -> str:
        return self._turn(self._new_text())

    def _new_text(self) -> str:
        known = self._decode(self._context)
        return self._decode(self._context + self._pending)[len(known) :]

    def _turn(self, text: str) -> str:
        if text:
            self._context, self._pending = self._pending, []
        else:
            self._pending = self._pending[-_WINDOW_TOKENS:]
        return text


def open_detokenizer(folder: Path, tokenizer: TextTokenizer) -> Callable[[], Detokenizer]:
    """How to make a detokenizer for each sequence of the model in ``folder``."""
    record = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    if (record.get("decoder") or {}).get("type") != "ByteLevel":
        return lambda: WindowDetokenizer(tokenizer.decode)
    token_bytes = _read_token_bytes(record)
    return lambda: ByteDetokenizer(token_bytes)


def _read_token_bytes(record: Mapping[str, Any]) -> dict[int, bytes]:
    """Token id -> its bytes; special tokens have no text."""
    alphabet = _byte_alphabet()
    table = {token: _spell(text, alphabet) for text, token in record["model"]["vocab"].items()}
    for added in record.get("added_tokens") or ():
        table[added["id"]] = b"" if added["special"] else _spell(added["content"], alphabet)
    return table


def _spell(text: str, alphabet: Mapping[str, int]) -> bytes:
    try:
        return bytes(alphabet[each] for each in text)
    except KeyError:
        return text.encode()  # an added token, written as it is


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of byte-level BPE: GPT-2's ``bytes_to_unicode``, turned round.

    Printable Latin-1 characters stand for their own byte; the other bytes, in their order, for
    the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(0x100 + index): byte for index, byte in enumerate(others)})
    return table
