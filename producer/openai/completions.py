"""POST /v1/completions."""

from collections.abc import Sequence
from typing import Any

from flask import Response, request

from contract.job import Job
from producer.api import Answer, Api, BodyChoice, Reply
from producer.front import Front
from producer.openai.answers import Completion, CompletionChoice, about, usage_of
from producer.openai.calls import client_of, results_of, submit
from producer.openai.chat import JOB_HEADER, SUBMIT_ERRORS
from producer.openai.endpoints import COMPLETIONS
from producer.openai.problems import OPENAI
from producer.openai.requests import CompletionRequest
from producer.openai.streams import Chunk, stream
from producer.request_schemas import SubmitHeaders


def add_completions(api: Api, front: Front) -> None:
    """Serve completions."""

    @api.operation(
        "POST",
        COMPLETIONS.path,
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(CompletionRequest,), choose=lambda _: CompletionRequest),
        replies=(
            Reply(
                status=200,
                meaning="The continued texts; with `stream`, parts as server-sent events.",
                body=Completion,
                streamed=True,
                headers=JOB_HEADER,
            ),
        ),
        errors=SUBMIT_ERRORS,
    )
    def create_completion(
        headers: SubmitHeaders, body: CompletionRequest, raw: Any
    ) -> Answer | Response:
        """Continue texts, as they are: no chat template is put around them."""
        submissions = submit(
            front, COMPLETIONS, body, raw=raw, idempotency_key=headers.idempotency_key
        )
        gone, first = client_of(request.environ), submissions[0].job
        if body.stream:
            words = _Chunks(first, prompts=len(body.prompts), with_usage=body.wants_usage)
            response = stream(front, submissions, gone, words)
            response.headers["x-request-id"] = first.id
            return response
        jobs = results_of(front, submissions, gone)
        return Answer(body=COMPLETIONS.answer(jobs, body), headers={"x-request-id": first.id})


class _Chunks:
    """What streamed completions say."""

    def __init__(self, first: Job, *, prompts: int, with_usage: bool) -> None:
        self._about = about(first, "cmpl-")
        self._prompts = prompts
        self._with_usage = with_usage

    def begin(self, _index: int) -> None:
        return None

    def add(self, index: int, text: str) -> Chunk:
        return self._chunk(CompletionChoice(index=index, text=text, finish_reason=None))

    def end(self, index: int, job: Job) -> Chunk:
        reason = job.output["finish_reason"]
        return self._chunk(CompletionChoice(index=index, text="", finish_reason=reason))

    def usage(self, jobs: Sequence[Job]) -> Chunk | None:
        if not self._with_usage:
            return None
        usage = usage_of(jobs, self._prompts)
        return Completion(choices=[], usage=usage, **self._about).model_dump()

    def _chunk(self, choice: CompletionChoice) -> Chunk:
        left_out = None if self._with_usage else {"usage"}
        return Completion(choices=[choice], usage=None, **self._about).model_dump(exclude=left_out)
