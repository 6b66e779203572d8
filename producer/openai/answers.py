"""What the OpenAI calls send."""

import base64
import struct
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from contract.job import Job
from producer.response_schemas import Sent


class PromptDetails(Sent):
    """Of the tokens that were read."""

    cached_tokens: int


class ChatUsage(Sent):
    """Tokens, counted by the engine."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class AnswerMessage(Sent):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Sent):
    """The one answer of a call."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Sent):
    """An answered chat. Its id is that of the job, under another prefix."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    system_fingerprint: str


class Delta(Sent):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Sent):
    """The one answer of a call, in part."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(Sent):
    """A part of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    system_fingerprint: str


class EmbeddingUsage(Sent):
    """Tokens, counted by the engine."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingData(Sent):
    """The unit vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="In base64: float32, little-endian.")


class EmbeddingList(Sent):
    """The vectors of a call, in the order of its texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingData]
    model: str
    usage: EmbeddingUsage


class OpenAIModel(Sent):
    """A model that can be named in a call."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["millrace"] = "millrace"


class OpenAIModelList(Sent):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


def completion_id(job: Job) -> str:
    """The id of the answer that ``job`` gives."""
    return "chatcmpl-" + job.id.removeprefix("job_")


def model_of(job: Job) -> str:
    """The version that answered, as a call may name it."""
    return f"{job.model}:{job.model_version}"


def fingerprint_of(job: Job) -> str:
    """What the answer depends on beside the request: the bytes of the model."""
    return f"fp_{job.digest[:12]}"


def chat_usage(job: Job) -> ChatUsage:
    """The tokens of a completed job."""
    usage = job.usage or {}
    return ChatUsage(
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        total_tokens=usage.get("total_tokens", 0),
        prompt_tokens_details=PromptDetails(cached_tokens=usage.get("cached_tokens", 0)),
    )


def chat_completion(job: Job) -> ChatCompletion:
    """The answer of a completed job."""
    output = job.output
    choice = ChatChoice(
        message=AnswerMessage(content=output["text"]), finish_reason=output["finish_reason"]
    )
    return ChatCompletion(
        id=completion_id(job),
        created=job.created_ms // 1000,
        model=model_of(job),
        choices=[choice],
        usage=chat_usage(job),
        system_fingerprint=fingerprint_of(job),
    )


def embedding_list(job: Job, *, as_base64: bool) -> EmbeddingList:
    """The answer of a completed job."""
    encode = _base64 if as_base64 else list
    usage = job.usage or {}
    return EmbeddingList(
        data=[
            EmbeddingData(index=index, embedding=encode(vector))
            for index, vector in enumerate(job.output["embeddings"])
        ],
        model=model_of(job),
        usage=EmbeddingUsage(
            prompt_tokens=usage.get("prompt_tokens", 0),
            total_tokens=usage.get("total_tokens", 0),
        ),
    )


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
