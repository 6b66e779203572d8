"""POST /v1/chat/completions."""

from collections.abc import Sequence
from typing import Any

from flask import Response, request

from contract import errors
from contract.job import Job
from producer.api import Answer, Api, BodyChoice, Reply
from producer.front import Front
from producer.openai.answers import (
    ChatChunk,
    ChatCompletion,
    ChunkChoice,
    Delta,
    about,
    usage_of,
)
from producer.openai.calls import client_of, results_of, submit
from producer.openai.endpoints import CHAT
from producer.openai.problems import OPENAI
from producer.openai.requests import ChatRequest
from producer.openai.streams import Chunk, stream
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
JOB_HEADER = {"x-request-id": "The id of the job underneath, the first if there are several."}


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
                meaning="The answers; with `stream`, chunks as server-sent events.",
                body=ChatCompletion,
                streamed=True,
                headers=JOB_HEADER,
            ),
        ),
        errors=SUBMIT_ERRORS,
    )
    def create_chat_completion(
        headers: SubmitHeaders, body: ChatRequest, raw: Any
    ) -> Answer | Response:
        """Answer a chat.

        Each answer is a job: a worker that dies is replaced and the stream goes on. A client that
        leaves before the end cancels them.
        """
        submissions = submit(front, CHAT, body, raw=raw, idempotency_key=headers.idempotency_key)
        gone, first = client_of(request.environ), submissions[0].job
        if body.stream:
            words = _Chunks(first, with_usage=body.wants_usage)
            response = stream(front, submissions, gone, words)
            response.headers["x-request-id"] = first.id
            return response
        jobs = results_of(front, submissions, gone)
        return Answer(body=CHAT.answer(jobs, body), headers={"x-request-id": first.id})


class _Chunks:
    """What a streamed chat says."""

    def __init__(self, first: Job, *, with_usage: bool) -> None:
        self._about = about(first, "chatcmpl-")
        self._with_usage = with_usage

    def begin(self, index: int) -> Chunk:
        return self._chunk(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))

    def add(self, index: int, text: str) -> Chunk:
        return self._chunk(ChunkChoice(index=index, delta=Delta(content=text)))

    def end(self, index: int, job: Job) -> Chunk:
        reason = job.output["finish_reason"]
        return self._chunk(ChunkChoice(index=index, delta=Delta(), finish_reason=reason))

    def usage(self, jobs: Sequence[Job]) -> Chunk | None:
        if not self._with_usage:
            return None
        return ChatChunk(choices=[], usage=usage_of(jobs), **self._about).model_dump()

    def _chunk(self, choice: ChunkChoice) -> Chunk:
        # With the usage wanted, every other chunk says that it has none.
        left_out = None if self._with_usage else {"usage"}
        chunk = ChatChunk(choices=[choice], **self._about).model_dump(exclude=left_out)
        chunk["choices"][0]["delta"] = choice.delta.model_dump(exclude_none=True)
        return chunk
