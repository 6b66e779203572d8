"""The official client, unmodified, against the real server."""

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from contract.settings import Settings
from model_store.store import ModelStore
from tests.integration.http.test_schemathesis import working

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(http: httpx.Client, settings: Settings, models: ModelStore) -> Iterator[OpenAI]:
    """A client whose jobs are worked on."""
    with (
        working(settings, models.resolve("tiny")),
        working(settings, models.resolve("tiny-embed")),
        OpenAI(base_url=f"{http.base_url}/v1", api_key="none") as client,
    ):
        yield client


def test_it_chats(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=5)

    assert answer.choices[0].message.content == "Paris."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer._request_id == answer.id.replace("chatcmpl-", "job_")


def test_it_streams(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Paris."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [5]


def test_it_gathers_a_stream_into_one_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(model="tiny", messages=HELLO) as stream:
        answer = stream.get_final_completion()

    assert answer.choices[0].message.content == "Paris."
    assert answer.choices[0].finish_reason == "stop"


def test_it_embeds(client: OpenAI) -> None:
    answer = client.embeddings.create(model="tiny-embed", input=["a", "b", "c"])

    assert [each.embedding for each in answer.data] == [[1.0, 0.0]] * 3


def test_it_lists_and_reads_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "tiny-embed"]
    assert client.models.retrieve("tiny").owned_by == "millrace"


def test_it_knows_the_errors(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gone", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="tiny", messages=HELLO, logprobs=True)
    assert (wrong.value.param, wrong.value.type) == ("logprobs", "invalid_request_error")


def test_it_continues_a_text(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt=["a", "b"], n=2)
    assert [each.text for each in answer.choices] == ["Paris."] * 4


def test_it_asks_in_the_background_and_reads_the_stream_again(client: OpenAI) -> None:
    begun = client.responses.create(model="tiny", input="hello", background=True)
    stream = client.responses.retrieve(begun.id, stream=True, starting_after=2)
    found = list(stream)

    assert found[0].sequence_number == 3
    assert found[-1].type == "response.completed"
    assert client.responses.retrieve(begun.id).output_text == "Paris."
    client.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(begun.id)


def test_it_streams_a_response(client: OpenAI) -> None:
    with client.responses.stream(model="tiny", input="hello") as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
        assert stream.get_final_response().output_text == text == "Paris."
