"""What the OpenAI calls send."""

import base64
import struct
from collections.abc import Sequence
from typing import Any, Literal

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
    """One answer of a call."""

    index: int
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
    """One answer of a call, in part."""

    index: int
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


class CompletionChoice(Sent):
    """One continuation, or in a stream a part of it."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class Completion(Sent):
    """Continued texts, or in a stream a part of one. Its id is that of the first job."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: ChatUsage | None
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


def model_of(job: Job) -> str:
    """The version that answered, as a call may name it."""
    return f"{job.model}:{job.model_version}"


def about(job: Job, prefix: str) -> dict[str, Any]:
    """What all answers say of their first job: an id that begins with ``prefix``, and of whom."""
    return {
        "id": prefix + job.id.removeprefix("job_"),
        "created": job.created_ms // 1000,
        "model": model_of(job),
        # What the answer depends on beside the request: the bytes of the model.
        "system_fingerprint": f"fp_{job.digest[:12]}",
    }


def usage_of(jobs: Sequence[Job], prompts: int = 1) -> ChatUsage:
    """The tokens of completed jobs; those that continue the same prompt read it once."""
    each = len(jobs) // prompts
    read = jobs[::each]
    prompt_tokens = sum((job.usage or {}).get("prompt_tokens", 0) for job in read)
    cached_tokens = sum((job.usage or {}).get("cached_tokens", 0) for job in read)
    completion_tokens = sum((job.usage or {}).get("completion_tokens", 0) for job in jobs)
    return ChatUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=cached_tokens),
    )


def chat_completion(jobs: Sequence[Job]) -> ChatCompletion:
    """The answer of completed jobs, each a choice."""
    choices = [
        ChatChoice(
            index=index,
            message=AnswerMessage(content=job.output["text"]),
            finish_reason=job.output["finish_reason"],
        )
        for index, job in enumerate(jobs)
    ]
    return ChatCompletion(choices=choices, usage=usage_of(jobs), **about(jobs[0], "chatcmpl-"))


def completion(jobs: Sequence[Job], *, prompts: int) -> Completion:
    """The answer of completed jobs, as many for each of ``prompts``."""
    choices = [
        CompletionChoice(
            index=index, text=job.output["text"], finish_reason=job.output["finish_reason"]
        )
        for index, job in enumerate(jobs)
    ]
    return Completion(choices=choices, usage=usage_of(jobs, prompts), **about(jobs[0], "cmpl-"))


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
