"""The calls that a batch can hold a line for: what each takes, and what it answers with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.errors import FieldError, InvalidRequestError
from contract.job import Job
from producer.openai.answers import chat_completion, completion, embedding_list
from producer.openai.requests import ChatRequest, CompletionRequest, EmbeddingsRequest
from producer.openai.response_answers import response_object
from producer.openai.response_requests import ResponseRequest
from producer.request_schemas import Body, EmbedRequest, GenerateRequest
from producer.response_schemas import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call. ``native`` gives the requests of its jobs, ``answer`` what these mean in the end.

    ``input_name`` is the call's own name for the input.
    """

    path: str
    task: str
    body: type[Body]
    native: Callable[[Any], Sequence[GenerateRequest | EmbedRequest]]
    answer: Callable[[Sequence[Job], Any], Sent]
    input_name: str


def _lone_response(body: ResponseRequest) -> Sequence[GenerateRequest]:
    """Of a line of a batch, which has no conversation before it. Raises InvalidRequestError."""
    for name in ("previous_response_id", "background"):
        if getattr(body, name):
            wrong = FieldError(pointer=f"/{name}", detail="is not for the lines of a batch")
            raise InvalidRequestError(f"body: /{name} {wrong.detail}", [wrong])
    return [body.generation([])]


CHAT = Endpoint(
    path="/v1/chat/completions",
    task="generate",
    body=ChatRequest,
    native=ChatRequest.generations,
    answer=lambda jobs, _: chat_completion(jobs),
    input_name="messages",
)
COMPLETIONS = Endpoint(
    path="/v1/completions",
    task="generate",
    body=CompletionRequest,
    native=CompletionRequest.generations,
    answer=lambda jobs, body: completion(jobs, prompts=len(body.prompts)),
    input_name="prompt",
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    task="embed",
    body=EmbeddingsRequest,
    native=lambda body: [body.embedding()],
    answer=lambda jobs, body: embedding_list(jobs[0], as_base64=body.encoding_format == "base64"),
    input_name="input",
)

RESPONSES = Endpoint(
    path="/v1/responses",
    task="generate",
    body=ResponseRequest,
    native=_lone_response,
    answer=lambda jobs, body: response_object(jobs[0], body.asked([])),
    input_name="input",
)

ENDPOINTS: Mapping[str, Endpoint] = {
    each.path: each for each in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)
}
