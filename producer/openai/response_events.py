"""A response as numbered server-sent events, the same ones whenever they are read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from contract.errors import MillraceError
from contract.job import Job, JobState
from producer.openai.problems import tell_error
from producer.openai.response_answers import OutputText, output_message, response_object

_HEARTBEAT = b": waiting\n\n"


def response_events(
    pieces: Iterator[str | Job], job: Job, asked: Mapping[str, Any], *, after: int = -1
) -> Iterator[bytes]:
    """The events whose numbers are above ``after``.

    ``pieces`` are those of ``producer.openai.calls.follow``, from the first.
    """
    number = -1

    def event(kind: str, **fields: Any) -> Iterator[bytes]:
        nonlocal number
        number += 1
        if number > after:
            data = {"type": kind, "sequence_number": number, **fields}
            yield f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

    def whole(kind: str, seen: Job) -> Iterator[bytes]:
        return event(f"response.{kind}", response=response_object(seen, asked).model_dump())

    # Whenever it is read, a stream begins with what was true when it began.
    begun = replace(job, state=JobState.IN_PROGRESS, finished_ms=None, output=None)
    item = output_message(job, "", "in_progress").model_dump()
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    text = ""
    try:
        yield from whole("created", begun)
        yield from whole("in_progress", begun)
        yield from event("response.output_item.added", output_index=0, item=item)
        empty = OutputText(text="").model_dump()
        yield from event("response.content_part.added", part=empty, **place)
        for piece in pieces:
            if isinstance(piece, Job):
                job = piece
            elif piece:
                text += piece
                delta = {"delta": piece, "logprobs": []}
                yield from event("response.output_text.delta", **place, **delta)
            else:
                yield _HEARTBEAT
    except MillraceError as error:
        told = tell_error(error).error
        yield from event("error", code=told.code, message=told.message, param=told.param)
        return
    ended = response_object(job, asked)
    yield from event("response.output_text.done", text=text, logprobs=[], **place)
    part = OutputText(text=text).model_dump()
    yield from event("response.content_part.done", part=part, **place)
    done = output_message(job, text, ended.status).model_dump()
    yield from event("response.output_item.done", output_index=0, item=done)
    yield from whole(ended.status, job)
