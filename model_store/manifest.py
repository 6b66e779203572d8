"""What is known about one model version: the content of its ``manifest.json``."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.errors import InvalidModelError

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_KINDS: Mapping[str, type] = {
    "form": str,
    "device": str,
    "context_length": int,
    "max_token_bytes": int,
    "has_chat_template": bool,
    "quality": dict,
    "source": dict,
    "created_at": str,
}
TASKS = ("generate", "embed")

UNBOUNDED_TOKEN_BYTES = 2**31 - 1
"""``max_token_bytes`` of a tokenizer whose tokens may stand for any number of bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a version as it was when the version was made."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPrompt:
    """A prompt whose greedy answer is known.

    ``input`` is what a job stores (``{"messages": [...]}`` or ``{"prompt": "..."}``). A greedy
    run of ``prompt_tokens`` limited to ``max_tokens`` must end with ``finish_reason`` and say
    exactly ``text``; ``tokens`` are its ids without the end-of-sequence token.
    """

    input: Mapping[str, Any]
    prompt_tokens: tuple[int, ...]
    max_tokens: int
    tokens: tuple[int, ...]
    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenEmbedding:
    """A text whose embedding is known; ``embedding`` is a unit vector."""

    input: Mapping[str, Any]
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts of one version.

    ``context_length`` counts tokens. ``max_token_bytes`` is the most bytes of UTF-8 text that
    one token can stand for, so a text of more than ``context_length * max_token_bytes`` bytes
    cannot fit. ``dimensions`` is the length of an embedding, None for a generator. ``quality``
    holds what validation measured; ``source`` says where the weights came from.
    """

    task: str
    form: str
    device: str
    context_length: int
    max_token_bytes: int
    dimensions: int | None = None
    has_chat_template: bool = False
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    golden: tuple[GoldenPrompt | GoldenEmbedding, ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    def digest(self) -> str:
        """sha256 (hex) over the sorted file table: equal content, equal digest, at any time."""
        lines = (f"{entry.sha256} {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        record: dict[str, Any] = {"format": FORMAT, "digest": self.digest()}
        record.update(dataclasses.asdict(self))
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "Manifest":
        """Parse ``manifest.json``; ``where`` names it in errors.

        Raises:
            InvalidModelError: the text is not a manifest, or its digest is not that of its table.
        """
        try:
            record = json.loads(text)
            manifest = _read_record(record)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise InvalidModelError(f"{where} is not a model manifest: {error!r}") from error
        if record.get("digest") != manifest.digest():
            raise InvalidModelError(f"{where}: the digest is not the digest of its file table")
        return manifest


def _read_record(record: Mapping[str, Any]) -> Manifest:
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']!r} is not {FORMAT}")
    if record["task"] not in TASKS:
        raise ValueError(f"task {record['task']!r} is not one of {TASKS}")
    for name, kind in _KINDS.items():
        if type(record.get(name, kind())) is not kind:
            raise TypeError(f"{name} is not of the kind {kind.__name__!r}")
    if min(record["context_length"], record["max_token_bytes"]) < 1:
        raise ValueError("a limit of tokens or bytes is below 1")
    known = {each.name for each in dataclasses.fields(Manifest)}
    values = {key: value for key, value in record.items() if key in known}
    values["files"] = {
        name: FileEntry(sha256=str(entry["sha256"]), bytes=int(entry["bytes"]))
        for name, entry in record["files"].items()
    }
    values["golden"] = tuple(_read_golden(each) for each in record["golden"])
    return Manifest(**values)


def _read_golden(record: Mapping[str, Any]) -> GoldenPrompt | GoldenEmbedding:
    if "embedding" in record:
        return GoldenEmbedding(input=record["input"], embedding=tuple(record["embedding"]))
    return GoldenPrompt(
        input=record["input"],
        prompt_tokens=tuple(record["prompt_tokens"]),
        max_tokens=record["max_tokens"],
        tokens=tuple(record["tokens"]),
        text=record["text"],
        finish_reason=record["finish_reason"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version of a model: its files lie in ``path`` and never change."""

    name: str
    version: int
    digest: str
    path: Path
    manifest: Manifest

    @property
    def ref(self) -> str:
        """The reference that always means this version, such as ``smollm2:3``."""
        return f"{self.name}:{self.version}"

    @classmethod
    def read(cls, path: Path, *, name: str, version: int) -> "ModelVersion":
        """Read the version whose folder is ``path``. Raises InvalidModelError."""
        where = path / MANIFEST_NAME
        try:
            text = where.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidModelError(f"{where} cannot be read: {error}") from error
        manifest = Manifest.from_json(text, where=str(where))
        return cls(
            name=name, version=version, digest=manifest.digest(), path=path, manifest=manifest
        )
