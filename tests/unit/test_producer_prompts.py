"""A prompt is stored as its model takes it, and refused when the model cannot take it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.errors import InvalidRequestError, PromptTooLongError
from model_store.manifest import Manifest, ModelVersion
from producer.parsing import parse_body
from producer.prompts import check_length, stored_input
from producer.request_schemas import EmbedRequest, GenerateRequest
from producer.token_counter import TokenCount


class Counter:
    """Answers what it was made with, and remembers whether it was asked."""

    def __init__(self, answer: TokenCount) -> None:
        self._answer = answer
        self.asked = 0

    def count(self, folder: Path, stored_input: Mapping[str, Any]) -> TokenCount:
        self.asked += 1
        return self._answer


def version(**changes: Any) -> ModelVersion:
    facts: dict[str, Any] = {
        "task": "generate", "form": "fp32", "device": "cpu", "context_length": 1000,
        "max_token_bytes": 10, "has_chat_template": True,
    }  # fmt: skip
    manifest = Manifest(**{**facts, **changes})
    return ModelVersion(name="m", version=1, digest="d", path=Path("/nowhere"), manifest=manifest)


def stored(value: object, **changes: Any) -> dict[str, Any]:
    manifest = version(**changes).manifest
    body = {"model": "m", "input": value}
    if manifest.task == "embed":
        return stored_input(parse_body(EmbedRequest, body), manifest)
    return stored_input(parse_body(GenerateRequest, body), manifest)


def counted(*counts: int) -> Counter:
    return Counter(TokenCount(counts=counts))


def test_a_string_becomes_a_message_where_there_is_a_template() -> None:
    assert stored("hi") == {"messages": [{"role": "user", "content": "hi"}]}
    assert stored("hi", has_chat_template=False) == {"prompt": "hi"}


def test_messages_need_a_template() -> None:
    with pytest.raises(InvalidRequestError, match="no chat template"):
        stored([{"role": "user", "content": "hi"}], has_chat_template=False)


def test_one_text_to_embed_and_a_list_of_one_are_told_apart() -> None:
    assert stored("hi", task="embed") == {"texts": ["hi"], "many": False}
    assert stored(["hi"], task="embed") == {"texts": ["hi"], "many": True}


def test_a_short_prompt_is_taken_uncounted() -> None:
    counter = counted(5000)

    check_length(stored("a few words"), version(), counter)

    assert counter.asked == 0


def test_a_prompt_of_too_many_bytes_for_any_tokenizer_is_refused_uncounted() -> None:
    counter = counted(1)

    with pytest.raises(PromptTooLongError, match="at least 1001 tokens; m takes at most 999"):
        check_length(stored("x" * 10_001), version(), counter)

    assert counter.asked == 0


def test_what_lies_between_is_counted() -> None:
    counter = counted(999)

    check_length(stored("x" * 5000), version(), counter)

    assert counter.asked == 1


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_with_its_count() -> None:
    with pytest.raises(PromptTooLongError, match="has 1000 tokens; m takes at most 999"):
        check_length(stored("x" * 5000), version(), counted(1000))


def test_bytes_count_and_not_characters() -> None:
    counter = counted(999)

    check_length(stored("\U0001f600" * 250), version(), counter)

    assert counter.asked == 1


def test_each_text_to_embed_has_the_limit_for_itself() -> None:
    model = version(task="embed", has_chat_template=False)
    texts = stored(["x" * 900] * 5, task="embed")

    check_length(texts, model, counted())
    with pytest.raises(PromptTooLongError, match="has 1001 tokens; m takes at most 1000"):
        check_length(stored(["x", "x" * 5000], task="embed"), model, counted(3, 1001))


def test_a_prompt_that_cannot_be_counted_in_time_is_refused() -> None:
    counter = Counter(TokenCount(timed_out=True))

    with pytest.raises(PromptTooLongError, match="counting took too long"):
        check_length(stored("x" * 5000), version(), counter)


def test_a_counter_that_fails_leaves_the_decision_to_the_worker() -> None:
    check_length(stored("x" * 5000), version(), Counter(TokenCount()))


def test_messages_that_the_template_refuses_are_refused() -> None:
    counter = Counter(TokenCount(refused="roles must alternate"))

    with pytest.raises(InvalidRequestError, match="roles must alternate"):
        check_length(stored("x" * 5000), version(), counter)
