"""What ``millrace batch run`` remembers beside its output, so that it can go on after anything."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from contract.errors import InvalidRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """How far a run has come. ``key`` makes the creation of its batch repeatable."""

    sha256: str
    key: str
    file_id: str | None = None
    batch_id: str | None = None

    @classmethod
    def begin(cls, sent: Path) -> Self:
        """Of a run that has sent nothing yet."""
        return cls(sha256=digest(sent), key=str(uuid.uuid4()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """What an earlier run remembered. Raises InvalidRequestError, OSError."""
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise InvalidRequestError(f"{path} is not what a run has written: {error}") from None

    def write(self, path: Path, **changes: str) -> Self:
        """Remember ``changes``; the state with them."""
        changed = replace(self, **changes)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(asdict(changed)), "utf-8")
        part.replace(path)
        return changed


def digest(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
