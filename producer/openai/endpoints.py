"""The calls that a batch can hold a line for: what each takes, and what it answers with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contract.job import Job
from producer.openai.answers import chat_completion, embedding_list
from producer.openai.requests import ChatRequest, EmbeddingsRequest
from producer.request_schemas import Body, EmbedRequest, GenerateRequest
from producer.response_schemas import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call. ``native`` gives the job's request, ``answer`` what a completed job means.

    ``input_name`` is the call's own name for the input.
    """

    path: str
    task: str
    body: type[Body]
    native: Callable[[Any], GenerateRequest | EmbedRequest]
    answer: Callable[[Job, Any], Sent]
    input_name: str


CHAT = Endpoint(
    path="/v1/chat/completions",
    task="generate",
    body=ChatRequest,
    native=ChatRequest.generation,
    answer=lambda job, _: chat_completion(job),
    input_name="messages",
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    task="embed",
    body=EmbeddingsRequest,
    native=EmbeddingsRequest.embedding,
    answer=lambda job, body: embedding_list(job, as_base64=body.encoding_format == "base64"),
    input_name="input",
)

ENDPOINTS: Mapping[str, Endpoint] = {each.path: each for each in (CHAT, EMBEDDINGS)}
