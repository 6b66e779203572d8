"""The subjects by name: KIND:FORM, such as ``millrace:fp32`` or ``llama.cpp:q8_0``."""

from collections.abc import Callable

from benchmarks.subjects.celery_task import open_celery_task
from benchmarks.subjects.engine import open_bare_engine, open_one_by_one
from benchmarks.subjects.llama_cpp import open_llama_cpp
from benchmarks.subjects.millrace import open_millrace
from benchmarks.subjects.subject import Bench, Opened
from benchmarks.subjects.transformers import open_transformers

KINDS: dict[str, Callable[[Bench, str], Opened]] = {
    "millrace": open_millrace,
    "engine": open_bare_engine,
    "one-by-one": open_one_by_one,
    "llama.cpp": open_llama_cpp,
    "celery": open_celery_task,
    "transformers": open_transformers,
}


def open_subject(bench: Bench, name: str) -> Opened:
    """A subject, started when the block is entered.

    Raises:
        ValueError: the name is not KIND:FORM with a known kind.
    """
    kind, _, form = name.partition(":")
    if kind not in KINDS or not form:
        raise ValueError(f"{name!r} is no subject: use KIND:FORM, KIND one of {', '.join(KINDS)}")
    return KINDS[kind](bench, form)
