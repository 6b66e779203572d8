"""The input of a job: its stored form, and whether the model can take it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from contract.errors import FieldError, InvalidRequestError, PromptTooLongError
from model_store.manifest import Manifest, ModelVersion
from producer.request_schemas import EmbedRequest, GenerateRequest, Message, kind_of_input
from producer.token_counter import TokenCount

#: Tokens that a chat template may add: once (a default system prompt), and for each message.
TEMPLATE_TOKENS = 256
MESSAGE_TOKENS = 16


class CountsTokens(Protocol):
    """Who is asked when the bytes of a prompt do not settle it; the tests count otherwise."""

    def count(self, folder: Any, stored_input: Mapping[str, Any]) -> TokenCount:
        """See TokenCounter."""


def stored_input(request: GenerateRequest | EmbedRequest, manifest: Manifest) -> dict[str, Any]:
    """The input as a job's record keeps it.

    A string to a model with a chat template becomes one message of the user, unless the template
    is not wanted. One text to embed and a list are told apart, since a list of one is answered with
    a list of one.
    """
    kind = kind_of_input(request.input)
    if isinstance(request, EmbedRequest):
        many = kind in ("<list>", "<token lists>")
        name = "tokens" if kind.startswith("<token") else "texts"
        return {name: list(request.input) if many else [request.input], "many": many}
    if kind == "<tokens>":
        return {"tokens": request.input}
    if not isinstance(request.input, str):
        if not manifest.has_chat_template:
            raise InvalidRequestError(
                "this model has no chat template, so it takes no messages; send a string",
                [FieldError(pointer="/input", detail="must be a string for this model")],
            )
        messages = [each.model_dump() for each in request.input if isinstance(each, Message)]
        return {"messages": messages}
    if manifest.has_chat_template and request.template:
        return {"messages": [{"role": "user", "content": request.input}]}
    return {"prompt": request.input}


def check_length(stored: Mapping[str, Any], version: ModelVersion, counter: CountsTokens) -> None:
    """Refuse a prompt that the model cannot take; each text to embed has the limit for itself.

    A token is at least one byte of text, and at most ``max_token_bytes``: nearly every prompt is
    settled by that. The rest is counted. A helper that fails settles nothing: the worker, which
    counts every prompt again, then decides.

    Raises:
        PromptTooLongError: saying the limit and the counted tokens.
        InvalidRequestError: the model's template does not take the messages.
    """
    manifest = version.manifest
    # A generated token needs room beside the prompt.
    limit = manifest.context_length - (manifest.task == "generate")
    if "tokens" in stored:
        texts = stored["tokens"] if manifest.task == "embed" else [stored["tokens"]]
        longest = max(len(each) for each in texts)
        if longest > limit:
            raise _too_long(version, limit, str(longest))
        return
    sizes = [len(text.encode()) for text in _texts(stored)]
    if manifest.task == "generate":
        sizes = [sum(sizes)]
    longest = max(sizes)
    least = math.ceil(longest / manifest.max_token_bytes)
    if least > limit:
        raise _too_long(version, limit, f"at least {least}")
    if longest + _overhead(stored) <= limit:
        return
    found = counter.count(version.path, stored)
    if found.refused is not None:
        raise InvalidRequestError(
            found.refused, [FieldError(pointer="/input", detail="is refused by the chat template")]
        )
    if found.timed_out:
        raise _too_long(version, limit, f"at least {least}, and counting took too long")
    if found.counts is not None and max(found.counts) > limit:
        raise _too_long(version, limit, str(max(found.counts)))


def _texts(stored: Mapping[str, Any]) -> Sequence[str]:
    if "texts" in stored:
        texts: list[str] = stored["texts"]
        return texts
    if "messages" in stored:
        return [message["content"] for message in stored["messages"]]
    return [stored["prompt"]]


def _overhead(stored: Mapping[str, Any]) -> int:
    messages = stored.get("messages", ())
    return TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages) if messages else MESSAGE_TOKENS


def _too_long(version: ModelVersion, limit: int, counted: str) -> PromptTooLongError:
    detail = f"the prompt has {counted} tokens; {version.name} takes at most {limit}"
    return PromptTooLongError(
        detail, [FieldError(pointer="/input", detail=f"must have at most {limit} tokens")]
    )
