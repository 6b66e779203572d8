"""Every kind of bad input is refused by its name, and says where it is wrong."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.problems import JOBS, pointers, problem, submit


@pytest.mark.parametrize("model", ["nope", "tiny:9", "tiny@nope", "../tiny", "a/b", "tiny:", ".."])
def test_an_unknown_model_is_404_with_the_known_ones(client: FlaskClient, model: str) -> None:
    found = problem(submit(client, model=model), 404, "unknown_model")

    assert "known: " in found["detail"]
    assert "tiny" in found["detail"]


@pytest.mark.parametrize(
    "empty", ["", " \n", [], [{"role": "user", "content": ""}], [{"role": "user", "content": " "}]]
)
def test_an_empty_prompt_is_named(client: FlaskClient, empty: Any) -> None:
    found = problem(submit(client, input=empty), 422, "empty_prompt")

    assert all(pointer.startswith("/input") for pointer in pointers(found))


def test_an_over_long_prompt_says_the_limit_and_the_counted_tokens(client: FlaskClient) -> None:
    found = problem(submit(client, input="hello " * 500), 422, "prompt_too_long")

    assert "tiny takes at most 1023" in found["detail"]
    counted = int(found["detail"].split(" tokens")[0].rsplit(" ", 1)[1])
    assert 1023 < counted < 3000
    assert pointers(found) == {"/input"}


def test_a_prompt_that_cannot_fit_is_refused_uncounted(client: FlaskClient) -> None:
    found = problem(submit(client, input="x" * 200_000), 422, "prompt_too_long")

    assert "at least" in found["detail"]


def test_a_long_prompt_that_fits_is_accepted(client: FlaskClient) -> None:
    assert submit(client, input="a quick brown fox " * 60).status_code == 202


def test_a_body_over_the_cap_is_413_before_parsing(client: FlaskClient) -> None:
    body = b"{" * (2 << 20)

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "1048576 bytes" in problem(response, 413, "body_too_large")["detail"]


def test_wrong_types_are_named_by_pointers(client: FlaskClient) -> None:
    response = submit(
        client,
        input=[{"role": "user", "content": 5}, {"role": "robot", "content": "x"}],
        parameters={"max_tokens": "9", "stop": ["a", 7]},
        metadata={"a/b": 1},
        priority=True,
    )

    assert pointers(problem(response, 422, "invalid_request")) == {
        "/input/0/content",
        "/input/1/role",
        "/parameters/max_tokens",
        "/parameters/stop/1",
        "/metadata/a~1b",
        "/priority",
    }


@pytest.mark.parametrize("body", ["5", '"text"', "[]", "null", "true"])
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    response = client.post(JOBS, data=body, content_type="application/json")

    problem(response, 422, "invalid_request")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_are_refused(client: FlaskClient, number: str) -> None:
    body = f'{{"model": "tiny", "input": "x", "parameters": {{"temperature": {number}}}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert number in problem(response, 400, "malformed_body")["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "1e400"),
        ("temperature", "1e30"),
        ("max_tokens", "9" * 30),
        ("seed", "9" * 30),
        ("seed", "-1"),
        ("top_p", "0"),
        ("top_k", "1.5"),
    ],
)
def test_numbers_out_of_range_are_named(client: FlaskClient, name: str, value: str) -> None:
    body = f'{{"model": "tiny", "input": "x", "parameters": {{"{name}": {value}}}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert pointers(problem(response, 422, "invalid_request")) == {f"/parameters/{name}"}


def test_a_number_with_too_many_digits_is_refused(client: FlaskClient) -> None:
    body = f'{{"model": "tiny", "input": "x", "priority": {"9" * 5000}}}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "too many digits" in problem(response, 400, "malformed_body")["detail"]


@pytest.mark.parametrize(
    "body", [b'{"model": "tiny", "input": "\xff"}', b"\xff\xfe{\x00", b"\xed\xa0\x80", b""]
)
def test_a_body_that_is_not_json_in_utf8_is_400(client: FlaskClient, body: bytes) -> None:
    response = client.post(JOBS, data=body, content_type="application/json")

    problem(response, 400, "malformed_body")


def test_lone_surrogates_are_refused(client: FlaskClient) -> None:
    for body in (r'{"model": "tiny", "input": "\ud800"}', r'{"model": "\udfff", "input": "x"}'):
        response = client.post(JOBS, data=body, content_type="application/json")

        assert "surrogate" in problem(response, 400, "malformed_body")["detail"]


def test_nul_characters_are_refused(client: FlaskClient) -> None:
    found = problem(submit(client, input="a\0b", metadata={"k": "\0"}), 422, "invalid_request")

    assert pointers(found) == {"/input", "/metadata/k"}


def test_a_name_given_twice_is_refused(client: FlaskClient) -> None:
    body = '{"model": "tiny", "model": "other", "input": "x"}'

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "'model' twice" in problem(response, 400, "malformed_body")["detail"]


def test_deep_nesting_is_refused(client: FlaskClient) -> None:
    body = '{"input": ' + "[" * 100_000 + "]" * 100_000 + "}"

    response = client.post(JOBS, data=body, content_type="application/json")

    assert "nested too deeply" in problem(response, 400, "malformed_body")["detail"]


def test_unknown_fields_are_refused_by_name(client: FlaskClient) -> None:
    found = problem(
        submit(client, webhook="https://x.example", parameters={"temprature": 1}),
        422,
        "invalid_request",
    )

    assert pointers(found) == {"/webhook", "/parameters/temprature"}


def test_too_much_metadata_is_refused(client: FlaskClient) -> None:
    problem(submit(client, metadata={str(n): "" for n in range(17)}), 422, "invalid_request")
    problem(submit(client, metadata={"k" * 65: ""}), 422, "invalid_request")
    problem(submit(client, metadata={"k": "v" * 513}), 422, "invalid_request")


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_deadline_out_of_range_is_refused(client: FlaskClient, seconds: float) -> None:
    found = problem(submit(client, deadline_s=seconds), 422, "invalid_request")

    assert pointers(found) == {"/deadline_s"}


def test_a_task_that_the_model_cannot_do_is_refused(client: FlaskClient) -> None:
    found = problem(submit(client, task="embed"), 422, "invalid_request")

    assert pointers(found) == {"/task"}
    assert "'generate'" in found["detail"]


@pytest.mark.parametrize("key", ["", "has space", "k" * 256, "caf\xe9"])
def test_a_bad_idempotency_key_is_refused(client: FlaskClient, key: str) -> None:
    response = client.post(
        JOBS, json={"model": "tiny", "input": "x"}, headers={"Idempotency-Key": key}
    )

    assert pointers(problem(response, 422, "invalid_request")) == {"/headers/Idempotency-Key"}
