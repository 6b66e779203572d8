"""Server-sent events, read as the HTML standard says (section 9.2.6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from contract.errors import UnexpectedAnswerError

#: An event is a line of JSON with some text; the longest have some kilobytes.
_MOST_LINE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event; ``id`` is the last id seen on the stream, as the standard has it."""

    id: str
    name: str
    data: str


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Events from the bytes of a ``text/event-stream``; an unfinished last one is dropped.

    Raises:
        UnexpectedAnswerError: a line has more than 16 MiB.
    """
    last_id, name = "", ""
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield ServerSentEvent(id=last_id, name=name or "message", data="\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")  # a comment has no field name
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # Not httpx's iter_lines: it also splits at U+2028 and others, which JSON may hold raw.
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MOST_LINE_BYTES:
            raise UnexpectedAnswerError("a line of the stream does not end")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
