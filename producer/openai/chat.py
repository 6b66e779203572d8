"""POST /v1/chat/completions."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, request

from contract import errors
from contract.errors import MillraceError
from contract.job import Job, Submission
from producer.api import Answer, Api, BodyChoice, Reply
from producer.events import EVENT_STREAM
from producer.front import Front
from producer.openai.answers import (
    ChatChunk,
    ChatCompletion,
    ChatUsage,
    ChunkChoice,
    Delta,
    chat_completion,
    chat_usage,
    completion_id,
    fingerprint_of,
    model_of,
)
from producer.openai.calls import Gone, client_of, pieces_of, result_of, submit
from producer.openai.endpoints import CHAT
from producer.openai.problems import OPENAI, tell_error
from producer.openai.requests import ChatRequest
from producer.request_schemas import SubmitHeaders

SUBMIT_ERRORS = (
    errors.UnknownModelError,
    errors.BodyTooLargeError,
    errors.EmptyPromptError,
    errors.PromptTooLongError,
    errors.IdempotencyConflictError,
    errors.JobGoneError,
    errors.QueueFullError,
    errors.NoWorkerError,
    errors.StoreUnavailableError,
)
_HEARTBEAT = b": waiting\n\n"
_END = b"data: [DONE]\n\n"


def add_chat(api: Api, front: Front) -> None:
    """Serve chats."""

    @api.operation(
        "POST",
        CHAT.path,
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(ChatRequest,), choose=lambda _: ChatRequest),
        replies=(
            Reply(
                status=200,
                meaning="The answer; with `stream`, chunks as server-sent events.",
                body=ChatCompletion,
                streamed=True,
                headers={"x-request-id": "The id of the job underneath."},
            ),
        ),
        errors=SUBMIT_ERRORS,
    )
    def create_chat_completion(
        headers: SubmitHeaders, body: ChatRequest, raw: Any
    ) -> Answer | Response:
        """Answer a chat.

        The call is a job: a worker that dies is replaced and the stream goes on. A client that
        leaves before the end cancels it.
        """
        submission = submit(
            front,
            CHAT,
            body,
            raw=raw,
            idempotency_key=headers.idempotency_key,
        )
        about = {"x-request-id": submission.job.id}
        gone = client_of(request.environ)
        if not body.stream:
            job = result_of(front, submission, gone)
            return Answer(body=chat_completion(job), headers=about)
        chunks = _chunks(front, submission, gone, with_usage=body.wants_usage)
        response = Response(chunks, content_type=EVENT_STREAM)
        response.headers.extend({**about, "X-Accel-Buffering": "no"})
        return response


def _chunks(
    front: Front, submission: Submission, gone: Gone, *, with_usage: bool
) -> Iterator[bytes]:
    """The answer in server-sent events without ids, which OpenAI's clients do not expect."""
    job = submission.job
    # With the usage wanted, every other chunk says that it has none.
    left_out = None if with_usage else {"usage"}

    def event(delta: Delta | None, finish: Any = None, usage: ChatUsage | None = None) -> bytes:
        said = delta and delta.model_dump(exclude_none=True)
        choices = [] if delta is None else [ChunkChoice(delta=delta, finish_reason=finish)]
        chunk = ChatChunk(
            id=completion_id(job),
            created=job.created_ms // 1000,
            model=model_of(job),
            choices=choices,
            usage=usage,
            system_fingerprint=fingerprint_of(job),
        ).model_dump(exclude=left_out)
        for choice in chunk["choices"]:
            choice["delta"] = said
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"

    try:
        yield event(Delta(role="assistant", content=""))
        for piece in pieces_of(front, submission, gone):
            if isinstance(piece, Job):
                yield event(Delta(), finish=piece.output["finish_reason"])
                if with_usage:
                    yield event(None, usage=chat_usage(piece))
            else:
                yield event(Delta(content=piece)) if piece else _HEARTBEAT
    except MillraceError as error:
        yield b"data: " + tell_error(error).model_dump_json().encode() + b"\n\n"
        return
    yield _END
