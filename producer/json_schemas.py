"""JSON Schemas that answers are made to hold, and how deep JSON may be nested at all."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_SCHEMA_CHARACTERS = 65_536
#: What is nested deeper is no use to anybody, and not every part that it passes could take it.
MOST_NESTING = 100


def nesting(value: Any) -> int:
    """How deep lists and objects lie in one another; 0 for anything else."""
    deepest, level = 0, [value]
    while inner := [each for each in level if isinstance(each, list | dict)]:
        deepest += 1
        level = [
            part for each in inner for part in (each.values() if isinstance(each, dict) else each)
        ]
    return deepest


def _short(schema: dict[str, Any]) -> dict[str, Any]:
    if nesting(schema) > MOST_NESTING:
        raise ValueError(f"must not be nested more than {MOST_NESTING} deep")
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARACTERS:
        raise ValueError(f"must have at most {MAX_SCHEMA_CHARACTERS} characters")
    return schema


JsonSchema = Annotated[dict[str, Any], AfterValidator(_short)]
