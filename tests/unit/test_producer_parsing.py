"""Bodies become values only when they are plain, finite JSON; errors point at their places."""

import pytest

from contract.errors import EmptyPromptError, InvalidRequestError, MalformedBodyError
from producer.parsing import MAX_FIELD_ERRORS, parse_body, parse_json
from producer.request_schemas import EmbedRequest, GenerateRequest


def test_a_plain_body_is_read() -> None:
    assert parse_json(b' {"a": [1, 2.5, "\xc3\xa9 \\ud83d\\ude00", null]} ') == {
        "a": [1, 2.5, "\u00e9 \U0001f600", None]
    }


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b"{} {}", "Extra data"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 10_000, "too many digits"),
        (b'["\\udc00"]', "surrogate"),
    ],
)
def test_what_is_not_plain_json_is_named(raw: bytes, why: str) -> None:
    with pytest.raises(MalformedBodyError) as refused:
        parse_json(raw)

    assert why in refused.value.detail


def test_an_error_in_a_list_of_messages_points_to_its_message() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "x"}, {"role": "user"}]}

    with pytest.raises(InvalidRequestError) as refused:
        parse_body(GenerateRequest, body)

    assert [(each.pointer, each.detail) for each in refused.value.errors] == [
        ("/input/1/content", "is missing")
    ]


def test_a_name_in_a_pointer_is_escaped_and_cut() -> None:
    body = {"model": "m", "input": "x", "a/b~c": 1, "k" * 200: 2}

    with pytest.raises(InvalidRequestError) as refused:
        parse_body(GenerateRequest, body)

    assert {each.pointer for each in refused.value.errors} == {"/a~1b~0c", "/" + "k" * 64}


def test_errors_beyond_the_first_few_are_left_out() -> None:
    body = {"model": "m", "input": "x", **{f"x{n}": n for n in range(100)}}

    with pytest.raises(InvalidRequestError) as refused:
        parse_body(GenerateRequest, body)

    assert len(refused.value.errors) == MAX_FIELD_ERRORS


def test_an_error_does_not_repeat_the_prompt() -> None:
    body = {"model": "m", "input": "my secret\0", "parameters": {"stop": "my secret"}}

    with pytest.raises(InvalidRequestError) as refused:
        parse_body(GenerateRequest, body)

    assert "secret" not in str(refused.value.errors) + refused.value.detail


@pytest.mark.parametrize("texts", ["", "\u2003\n", [], ["a", " "]])
def test_a_text_without_text_is_an_empty_prompt(texts: object) -> None:
    with pytest.raises(EmptyPromptError):
        parse_body(EmbedRequest, {"model": "m", "input": texts})


def test_an_embedding_takes_no_parameters() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_body(EmbedRequest, {"model": "m", "input": "x", "parameters": {"top_k": 1}})

    assert refused.value.errors[0].pointer == "/parameters/top_k"


def test_every_default_is_filled_in() -> None:
    request = parse_body(GenerateRequest, {"model": "m", "input": "x"})

    assert request.priority == 5
    assert request.cache
    assert request.parameters.model_dump() == {
        "max_tokens": 256, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "stop": [],
        "json_schema": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"task": "dance"}, "/task", "must be 'generate' or 'embed'"),
        ({"input": 7}, "/input", "must be a string or a JSON array"),
        ({"parameters": []}, "/parameters", "must be a JSON object"),
        ({"parameters": {"stop": list("abcde")}}, "/parameters/stop", "must have at most 4 items"),
        ({"parameters": {"stop": [""]}}, "/parameters/stop/0", "must not be empty"),
        ({"metadata": {str(n): "" for n in range(17)}}, "/metadata", "must have at most 16 items"),
        ({"metadata": {"k": "v" * 513}}, "/metadata/k", "must have at most 512 characters"),
        ({"model": 5}, "/model", "must be a string"),
    ],
)
def test_an_error_is_told_in_the_words_of_json(
    change: dict[str, object], pointer: str, words: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_body(GenerateRequest, {"model": "m", "input": "x", **change})

    assert [(each.pointer, each.detail) for each in refused.value.errors] == [(pointer, words)]


@pytest.mark.parametrize("body", [[], None, 5, "text"])
def test_a_body_that_is_no_object_is_told_so(body: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be a JSON object"):
        parse_body(GenerateRequest, body)
