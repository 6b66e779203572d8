"""How errors are told to the clients of an API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contract.errors import FieldError, MillraceError
from producer.response_schemas import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request was not done, in nobody's words yet."""

    status: int
    code: str
    detail: str
    retryable: bool = False
    fields: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The words of one API: its body and its status for each error, and headers of its own."""

    media_type: str
    body: type[Sent]
    status: Callable[[type[MillraceError]], int]
    tell: Callable[[Refusal], Sent]
    headers: Callable[[Refusal], Mapping[str, str]] = lambda _: {}
