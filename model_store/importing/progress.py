"""How an import tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with the name of a step and how much of it is done (0 to 1, or None: unknown)."""


def no_progress(step: str, fraction: float | None) -> None:
    """Tells nobody."""
