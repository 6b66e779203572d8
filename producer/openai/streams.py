"""The answers of a call as server-sent events, as they come."""

import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from flask import Response

from contract.errors import MillraceError
from contract.job import Job, Submission
from producer.events import EVENT_STREAM
from producer.front import Front
from producer.openai.calls import Gone, pieces_of
from producer.openai.problems import tell_error

_HEARTBEAT = b": waiting\n\n"
_END = b"data: [DONE]\n\n"

Chunk = Mapping[str, Any]


class Words(Protocol):
    """What a call says in its chunks; each answer has an ``index``."""

    def begin(self, index: int) -> Chunk | None:
        """Before the first text, if anything."""

    def add(self, index: int, text: str) -> Chunk:
        """More text."""

    def end(self, index: int, job: Job) -> Chunk:
        """Behind the last text."""

    def usage(self, jobs: Sequence[Job]) -> Chunk | None:
        """Behind all answers, if anything."""


def stream(front: Front, submissions: Sequence[Submission], gone: Gone, words: Words) -> Response:
    """The response that tells ``submissions`` in ``words``."""
    response = Response(_events(front, submissions, gone, words), content_type=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _events(
    front: Front, submissions: Sequence[Submission], gone: Gone, words: Words
) -> Iterator[bytes]:
    """Events without ids, which OpenAI's clients do not expect."""
    ended: dict[int, Job] = {}
    try:
        for index in range(len(submissions)):
            yield from _told(words.begin(index))
        for index, piece in _merged(front, submissions, gone):
            if isinstance(piece, Job):
                ended[index] = piece
                yield from _told(words.end(index, piece))
            elif piece:
                yield from _told(words.add(index, piece))
            else:
                yield _HEARTBEAT
        yield from _told(words.usage([ended[index] for index in range(len(submissions))]))
    except MillraceError as error:
        yield from _told(tell_error(error).model_dump())
        return
    yield _END


def _told(chunk: Chunk | None) -> Iterator[bytes]:
    if chunk is not None:
        yield b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def _merged(
    front: Front, submissions: Sequence[Submission], gone: Gone
) -> Iterator[tuple[int, str | Job]]:
    """The pieces of all jobs with their indexes, each as soon as it is there."""
    if len(submissions) == 1:
        for piece in pieces_of(front, submissions[0], gone):
            yield 0, piece
        return
    left = threading.Event()
    news: queue.SimpleQueue[tuple[int, str | Job | None]] = queue.SimpleQueue()

    def follow(index: int) -> None:
        try:
            for piece in pieces_of(front, submissions[index], lambda: left.is_set() or gone()):
                news.put((index, piece))
        finally:
            news.put((index, None))

    with ThreadPoolExecutor(len(submissions)) as pool:
        followers = [pool.submit(follow, index) for index in range(len(submissions))]
        try:
            running = len(followers)
            while running:
                index, new = news.get()
                if new is None:
                    running -= 1
                    followers[index].result()
                else:
                    yield index, new
        finally:
            left.set()
