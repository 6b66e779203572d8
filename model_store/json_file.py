"""Reads JSON files that others wrote."""

import json
from pathlib import Path
from typing import Any

from contract.errors import InvalidModelError, MillraceError


def read_object(path: Path, refused: type[MillraceError] = InvalidModelError) -> dict[str, Any]:
    """The JSON object in a file. Raises ``refused`` when there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refused(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(record, dict):
        raise refused(f"{path} is not a JSON object")
    return record
