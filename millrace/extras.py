"""What only some installations have, and how to get it."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from contract.errors import MissingDependencyError

_OURS = frozenset({"contract", "producer", "workers", "model_store", "millrace"})


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing third-party module into advice to install ``millrace[extra]``."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in _OURS:
            raise
        raise _missing(name, extra) from error


def require(*modules: str, extra: str) -> None:
    """Raise MissingDependencyError unless all of ``modules`` are installed."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise _missing(name, extra)


def _missing(name: str, extra: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{name} is not installed, and this needs it: pip install 'millrace[{extra}]'"
    )
