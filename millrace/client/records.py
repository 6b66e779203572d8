"""What the server's answers are to a caller: frozen values made from its JSON."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from contract.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    JobUnfinishedError,
    RunCancelledError,
    UnexpectedAnswerError,
)
from millrace.client.problems import job_error

Json = Any  # what json.loads returns
Row = TypeVar("Row")

FINISHED = frozenset({"completed", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server described it at one moment. Times are seconds since the epoch.

    ``output`` is None until the job completed; :meth:`result`, :attr:`text` and
    :attr:`embeddings` raise where there is none.
    """

    id: str
    status: str
    model: str = ""
    model_version: int | None = None
    task: str = "generate"
    priority: int | None = None
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    expires_at: float | None = None
    deadline_at: float | None = None
    queue_position: int | None = None
    eta_s: float | None = None
    waiting_reason: str | None = None
    attempts: int = 0
    progress: Mapping[str, int] | None = None
    usage: Mapping[str, int] | None = None
    output: Json = None
    error: Mapping[str, Json] | None = None
    result_url: str | None = None
    events_url: str | None = None
    worker: str | None = None
    cached: bool = False
    dead: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the job has ended, in whichever way."""
        return self.status in FINISHED

    def result(self) -> Json:
        """The output of a completed job.

        Raises:
            MillraceError: the class of the job's own error code where it failed;
                RunCancelledError, DeadlineExceededError or JobUnfinishedError otherwise.
        """
        if self.status == "completed":
            return self.output
        if self.status == "failed":
            raise job_error(self.id, self.error or {})
        if self.status == "cancelled":
            raise RunCancelledError(f"job {self.id} was cancelled")
        if self.status == "expired":
            raise DeadlineExceededError(f"job {self.id} was not done by its deadline")
        raise JobUnfinishedError(f"job {self.id} is {self.status}: wait for it first")

    @property
    def text(self) -> str:
        """The generated text. Raises like :meth:`result`, and InvalidRequestError without one."""
        output = self.result()
        if not isinstance(output, Mapping) or "text" not in output:
            raise InvalidRequestError(f"job {self.id} is of task {self.task}: it has no text")
        return str(output["text"])

    @property
    def embeddings(self) -> list[list[float]]:
        """One vector per input text. Raises like :meth:`result`, and InvalidRequestError."""
        output = self.result()
        found = output if isinstance(output, Mapping) else {}
        if "embeddings" not in found and "embedding" not in found:
            raise InvalidRequestError(f"job {self.id} is of task {self.task}: it has no vectors")
        return list(found["embeddings"]) if "embeddings" in found else [found["embedding"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a job's event stream; ``kind`` is status, token, restarted or done."""

    id: str
    kind: str
    attempt: int = 0
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One live worker. Times are seconds since the epoch."""

    id: str
    host: str = ""
    pid: int = 0
    device: str = ""
    models: Sequence[Json] = ()
    slots: int = 0
    running: int = 0
    state: str = ""
    started_at: float | None = None
    last_seen: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One model's queue; ``drain_rate`` is finished jobs per second, None when unknown."""

    id: str = ""
    model: str
    model_version: int | None = None
    digest: str = ""
    pending: int = 0
    following: int = 0
    retrying: int = 0
    running: int = 0
    workers: int = 0
    slots: int = 0
    drain_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that jobs can name by its ``id``, with the version that the bare name means.

    ``workers`` counts the live workers that serve this version.
    """

    id: str
    version: int | None = None
    versions: Sequence[int] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    task: str = ""
    form: str = ""
    digest: str = ""
    context_length: int | None = None
    dimensions: int | None = None
    created_at: str = ""
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """A part of a list; ``has_more`` says that rows follow after its last one."""

    items: Sequence[Row]
    has_more: bool = False

    def __iter__(self) -> Iterator[Row]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def parse(kind: Callable[..., Row], record: Json) -> Row:
    """A ``kind`` from the fields of ``record`` that it knows; others are for newer clients."""
    what = getattr(kind, "__name__", "answer").lower()
    hints = _hints(kind)
    try:
        known = {name: value for name, value in record.items() if name in hints}
        wrong = [name for name, value in known.items() if not _fits(value, hints[name])]
        if wrong:
            raise TypeError(f"{', '.join(wrong)} of another type")
        return kind(**known)
    except (AttributeError, TypeError) as error:
        raise UnexpectedAnswerError(f"the server's {what} was not understood: {error}") from error


@functools.cache
def _hints(kind: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value out of JSON is what a field is declared to be."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return True
    if origin is UnionType:
        return any(_fits(value, each) for each in inner)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    return type(value) is origin or (origin is float and type(value) is int)


def parse_page(kind: Callable[..., Row], answer: Json) -> Page[Row]:
    """A page from ``{"object": "list", "data": […], "has_more": …}``."""
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise UnexpectedAnswerError("the server's list was not understood: it has no data")
    return Page(
        items=tuple(parse(kind, row) for row in rows), has_more=bool(answer.get("has_more"))
    )
