"""POST /v1/embeddings."""

from typing import Any

from flask import request

from producer.api import Answer, Api, BodyChoice, Reply
from producer.front import Front
from producer.openai.answers import EmbeddingList
from producer.openai.calls import client_of, results_of, submit
from producer.openai.chat import JOB_HEADER, SUBMIT_ERRORS
from producer.openai.endpoints import EMBEDDINGS
from producer.openai.problems import OPENAI
from producer.openai.requests import EmbeddingsRequest
from producer.request_schemas import SubmitHeaders


def add_embeddings(api: Api, front: Front) -> None:
    """Serve embeddings."""

    @api.operation(
        "POST",
        EMBEDDINGS.path,
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(EmbeddingsRequest,), choose=lambda _: EmbeddingsRequest),
        replies=(
            Reply(
                status=200,
                meaning="A unit vector for each text.",
                body=EmbeddingList,
                headers=JOB_HEADER,
            ),
        ),
        errors=SUBMIT_ERRORS,
    )
    def create_embeddings(headers: SubmitHeaders, body: EmbeddingsRequest, raw: Any) -> Answer:
        """Embed texts."""
        submissions = submit(
            front, EMBEDDINGS, body, raw=raw, idempotency_key=headers.idempotency_key
        )
        jobs = results_of(front, submissions, client_of(request.environ))
        return Answer(body=EMBEDDINGS.answer(jobs, body), headers={"x-request-id": jobs[0].id})
