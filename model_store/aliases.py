"""The aliases of one model name: a small JSON file that changes atomically."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from contract.errors import InvalidModelError

PRODUCTION = "production"
PREVIOUS = "previous"
_FILE_NAME = "aliases.json"


def read_aliases(folder: Path) -> dict[str, int]:
    """Alias -> version number of the model in ``folder``; empty when there are none."""
    path = folder / _FILE_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {str(alias): int(version) for alias, version in record.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidModelError(f"{path} is not a table of aliases: {error}") from error


def write_aliases(folder: Path, aliases: Mapping[str, int]) -> None:
    """Replace the table: a reader sees the old one or the new one, never a part."""
    replace_file(folder / _FILE_NAME, json.dumps(dict(sorted(aliases.items()))) + "\n")


def with_production(aliases: Mapping[str, int], version: int) -> dict[str, int]:
    """The table after a promotion: what was in production becomes ``previous``."""
    current = aliases.get(PRODUCTION)
    changed = {**aliases, PRODUCTION: version}
    if current is not None and current != version:
        changed[PREVIOUS] = current
    return changed


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
