"""The numbers of an architecture, as a foreign file gives them: of any type and any size."""

import math
from typing import Any

from contract.errors import ModelImportError


def require_whole(name: str, value: Any, *, least: int, most: int) -> None:
    """Raise ModelImportError unless ``value`` is a whole number from ``least`` to ``most``."""
    if type(value) is not int or not least <= value <= most:
        raise ModelImportError(f"{name} is {_shown(value)}; it must be from {least} to {most}")


def require_positive(name: str, value: Any) -> None:
    """Raise ModelImportError unless ``value`` is a finite number above 0."""
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ModelImportError(f"{name} is {_shown(value)}; it must be a number above 0")


def _shown(value: Any) -> str:
    return repr(value)[:64] if isinstance(value, str | float) else f"a {type(value).__name__}"
