"""POST /v1/embeddings."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

from flask import request

from producer.api import Answer, Api, BodyChoice, Reply
from producer.front import Front
from producer.openai.answers import EmbeddingData, EmbeddingList, EmbeddingUsage, model_of
from producer.openai.calls import client_of, result_of, submit
from producer.openai.chat import SUBMIT_ERRORS
from producer.openai.problems import OPENAI
from producer.openai.requests import EmbeddingsRequest
from producer.request_schemas import SubmitHeaders


def add_embeddings(api: Api, front: Front) -> None:
    """Serve embeddings."""

    @api.operation(
        "POST",
        "/v1/embeddings",
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(EmbeddingsRequest,), choose=lambda _: EmbeddingsRequest),
        replies=(
            Reply(
                status=200,
                meaning="A unit vector for each text.",
                body=EmbeddingList,
                headers={"x-request-id": "The id of the job underneath."},
            ),
        ),
        errors=SUBMIT_ERRORS,
    )
    def create_embeddings(headers: SubmitHeaders, body: EmbeddingsRequest, raw: Any) -> Answer:
        """Embed texts."""
        submission = submit(
            front,
            body.embedding(),
            raw=raw,
            idempotency_key=headers.idempotency_key,
            input_name="input",
        )
        job = result_of(front, submission, client_of(request.environ))
        encode = _base64 if body.encoding_format == "base64" else list
        usage = job.usage or {}
        return Answer(
            body=EmbeddingList(
                data=[
                    EmbeddingData(index=index, embedding=encode(vector))
                    for index, vector in enumerate(job.output["embeddings"])
                ],
                model=model_of(job),
                usage=EmbeddingUsage(
                    prompt_tokens=usage.get("prompt_tokens", 0),
                    total_tokens=usage.get("total_tokens", 0),
                ),
            ),
            headers={"x-request-id": job.id},
        )


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
