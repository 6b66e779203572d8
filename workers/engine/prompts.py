"""From what a job stores to what an engine runs. Nothing is ever cut silently."""

import json
from collections.abc import Mapping
from typing import Any

from contract.errors import EmptyPromptError, PromptTooLongError
from model_store.tokenizer import TextTokenizer
from workers.engine.requests import EmbeddingRequest, GenerationRequest

_DEFAULT_MAX_TOKENS = 256


def generation_request(
    tokenizer: TextTokenizer,
    limit_tokens: int,
    stored_input: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    seed: int | None,
) -> GenerationRequest:
    """Render and tokenize a prompt; ``max_tokens`` shrinks to what ``limit_tokens`` leaves.

    Raises:
        EmptyPromptError: there is no text.
        PromptTooLongError: the prompt leaves no room for one token of an answer.
    """
    if "tokens" not in stored_input:
        _require_text(_texts_of(stored_input), "the prompt")
    tokens = tokenizer.prompt_tokens(stored_input)
    if not tokens:
        raise EmptyPromptError("the prompt has no tokens")
    schema = parameters.get("json_schema")
    room = limit_tokens - len(tokens)
    if room < 1:
        raise PromptTooLongError(
            f"the prompt has {len(tokens)} tokens; this model takes at most {limit_tokens - 1},"
            " and one for the answer"
        )
    return GenerationRequest(
        prompt_tokens=tokens,
        max_tokens=min(parameters.get("max_tokens") or _DEFAULT_MAX_TOKENS, room),
        temperature=parameters.get("temperature", 0.0),
        top_p=parameters.get("top_p", 1.0),
        top_k=parameters.get("top_k", 0),
        seed=seed,
        stop=tuple(parameters.get("stop") or ()),
        json_schema=None if schema is None else json.dumps(schema),
    )


def embedding_request(
    tokenizer: TextTokenizer, limit_tokens: int, stored_input: Mapping[str, Any]
) -> EmbeddingRequest:
    """Tokenize texts.

    Raises:
        EmptyPromptError: a text is empty.
        PromptTooLongError: a text has more tokens than the model takes; it is not cut.
        InvalidRequestError: a token is none of the model's.
    """
    found = []
    for index, text in enumerate(stored_input["tokens" if "tokens" in stored_input else "texts"]):
        if isinstance(text, str):
            _require_text([text], f"text {index}")
            tokens = tokenizer.encode(text)
        else:
            tokens = tokenizer.known(text)
        if len(tokens) > limit_tokens:
            raise PromptTooLongError(
                f"text {index} has {len(tokens)} tokens; this model takes at most {limit_tokens}"
            )
        found.append(tokens)
    if not found:
        raise EmptyPromptError("there is no text to embed")
    return EmbeddingRequest(texts_tokens=found)


def _texts_of(stored_input: Mapping[str, Any]) -> list[str]:
    if "messages" in stored_input:
        return [str(message.get("content") or "") for message in stored_input["messages"]]
    return [stored_input["prompt"]]


def _require_text(texts: list[str], what: str) -> None:
    if not any(text.strip() for text in texts):
        raise EmptyPromptError(f"{what} has no text")
