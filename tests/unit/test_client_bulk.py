"""Many jobs through the client, against a real HTTP server whose answers the test writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contract.errors import (
    InvalidRequestError,
    MillraceError,
    QueueFullError,
    StoreUnavailableError,
    UnexpectedAnswerError,
    UnknownModelError,
)
from millrace import Client, JobHandle
from millrace.client import RetryPolicy
from tests.support.http_stub import Answer, Asked, HttpStub, json_answer, problem

BATCH = "/api/v1/jobs:batch"
AT_ONCE = RetryPolicy(retries=3, first_s=0.001)


def accepted(name: str, **fields: Any) -> dict[str, Any]:
    return {"status": 202, "job": {"id": name, "status": "queued", **fields}, "replayed": False}


def refused(code: str, retry_after_s: int | None = None, **fields: Any) -> dict[str, Any]:
    error = {"code": code, "detail": "no", **fields}
    return {"status": 400, "error": error, "retry_after_s": retry_after_s}


def batch(*entries: dict[str, Any]) -> Answer:
    return json_answer({"object": "list", "data": list(entries)})


def take_all(asked: Asked) -> Answer:
    return batch(*(accepted(f"job_{job['input']}") for job in asked.body["jobs"]))


@contextmanager
def serving(
    answer: Callable[[Asked], Answer], policy: RetryPolicy = AT_ONCE
) -> Iterator[tuple[HttpStub, Client]]:
    with HttpStub(answer) as stub, Client(stub.url, policy=policy) as client:
        yield stub, client


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    turns = iter(answers)
    return lambda _asked: next(turns)


def ids(outcomes: list[JobHandle | MillraceError]) -> list[str]:
    return [each.id for each in outcomes if isinstance(each, JobHandle)]


def test_prompts_and_mappings_become_jobs_with_what_is_said_for_all() -> None:
    with serving(take_all) as (stub, client):
        client.submit_many(
            ["a", {"input": "b", "model": "other", "priority": 0, "parameters": {"seed": 1}}],
            model="tiny",
            priority=9,
            metadata={"who": "me"},
            max_tokens=5,
            seed=7,
            stop=None,
        )
    (asked,) = stub.asked
    assert asked.path == BATCH
    assert asked.body == {
        "jobs": [
            {
                "model": "tiny", "input": "a", "priority": 9, "metadata": {"who": "me"},
                "parameters": {"max_tokens": 5, "seed": 7},
            },
            {
                "model": "other", "input": "b", "priority": 0, "metadata": {"who": "me"},
                "parameters": {"max_tokens": 5, "seed": 1},
            },
        ]
    }  # fmt: skip


def test_more_than_a_thousand_are_sent_in_several_calls_each_with_a_key_of_its_own() -> None:
    told: list[int] = []
    with serving(take_all) as (stub, client):
        outcomes = client.submit_many(
            (str(n) for n in range(2500)),
            model="tiny",
            idempotency_key="k",
            on_progress=told.append,
        )
    assert ids(outcomes) == [f"job_{n}" for n in range(2500)]
    assert [len(asked.body["jobs"]) for asked in stub.asked] == [1000, 1000, 500]
    assert [asked.headers["Idempotency-Key"] for asked in stub.asked] == ["k.0", "k.1", "k.2"]
    assert told == [1000, 2000, 2500]


def test_large_jobs_are_sent_in_calls_that_the_server_takes() -> None:
    with serving(lambda asked: batch(*[accepted("job")] * len(asked.body["jobs"]))) as (
        stub,
        client,
    ):
        client.submit_many(["\u00e9" * 500_000] * 10, model="tiny")
    assert [len(asked.body["jobs"]) for asked in stub.asked] == [4, 4, 2]
    assert max(int(asked.headers["Content-Length"]) for asked in stub.asked) <= 4 << 20


def test_no_jobs_are_no_call() -> None:
    with serving(take_all) as (stub, client):
        assert client.submit_many([], model="tiny") == []
    assert stub.asked == []


def test_a_wrong_job_is_its_error_in_its_place_and_is_not_sent_again() -> None:
    wrong = refused(
        "invalid_request", errors=[{"pointer": "/jobs/1/input", "detail": "is missing"}]
    )
    with serving(in_turn(batch(accepted("a"), wrong, refused("unknown_model")))) as (stub, client):
        first, second, third = client.submit_many(["a", {}, "c"], model="tiny")
    assert isinstance(first, JobHandle)
    assert isinstance(second, InvalidRequestError)
    assert second.errors[0].pointer == "/jobs/1/input"
    assert isinstance(third, UnknownModelError)
    assert len(stub.asked) == 1


def test_a_call_is_repeated_with_its_key_until_all_are_accepted() -> None:
    full = refused("queue_full", 0)
    answers = (
        problem(503, "store_unavailable", Retry_After="0"),
        batch(accepted("a"), full, full),
        batch(accepted("a"), accepted("b"), refused("store_unavailable", 0)),
        batch(accepted("a"), accepted("b"), accepted("c")),
    )
    with serving(in_turn(*answers)) as (stub, client):
        assert ids(client.submit_many(["a", "b", "c"], model="tiny")) == ["a", "b", "c"]
    assert len({asked.headers["Idempotency-Key"] for asked in stub.asked}) == 1
    assert [asked.body for asked in stub.asked] == [stub.asked[0].body] * 4


def test_patience_lasts_as_long_as_jobs_are_accepted() -> None:
    rounds = 20  # more than the policy repeats a call that changes nothing

    def answer(_asked: Asked) -> Answer:
        done = len(stub.asked)
        full = [refused("queue_full", 0)] * (rounds - done)
        return batch(*(accepted(str(n)) for n in range(done)), *full)

    with serving(answer) as (stub, client):
        assert len(ids(client.submit_many(["x"] * rounds, model="tiny"))) == rounds
    assert len(stub.asked) == rounds


def test_what_stays_refused_is_its_error_after_some_tries() -> None:
    with serving(lambda _asked: batch(accepted("a"), refused("queue_full", 0))) as (stub, client):
        first, second = client.submit_many(["a", "b"], model="tiny")
    assert isinstance(first, JobHandle)
    assert isinstance(second, QueueFullError)
    assert 3 <= len(stub.asked) <= 8


def test_the_first_that_may_come_back_decides_when_the_call_is_repeated() -> None:
    told: list[tuple[str, float]] = []
    refusals = batch(refused("queue_full", 90), refused("store_unavailable", 2))
    with (
        HttpStub(lambda _asked: refusals) as stub,
        Client(
            stub.url,
            policy=RetryPolicy(retries=3, longest_s=1.0),
            on_retry=lambda error, pause_s: told.append((error.code, pause_s)),
        ) as client,
    ):
        outcomes = client.submit_many(["a", "b"], model="tiny")
    assert [type(each) for each in outcomes] == [QueueFullError, StoreUnavailableError]
    assert isinstance(outcomes[0], QueueFullError)
    assert outcomes[0].retry_after_s == 90
    assert told == []  # two seconds are more than this policy waits


def test_a_first_call_that_fails_is_raised_and_a_later_one_is_the_error_of_all_that_follow() -> (
    None
):
    def fail_second(asked: Asked) -> Answer:
        first = asked.headers["Idempotency-Key"].endswith(".0")
        return take_all(asked) if first else problem(413, "body_too_large")

    with serving(fail_second) as (stub, client):
        outcomes = client.submit_many([str(n) for n in range(3000)], model="tiny")
    assert len(ids(outcomes)) == 1000
    assert {type(each).__name__ for each in outcomes[1000:]} == {"BodyTooLargeError"}
    assert len(stub.asked) == 2
    with (
        serving(lambda _asked: problem(422, "invalid_request")) as (_, client),
        pytest.raises(InvalidRequestError),
    ):
        client.submit_many(["a"], model="tiny")


def test_the_output_that_the_answer_leaves_out_is_fetched_when_it_is_asked_for() -> None:
    done = {"id": "a", "status": "completed", "output": {"text": "Paris."}}

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return batch(accepted("a", status="completed", output=None))
        return json_answer(done)

    with serving(answer) as (stub, client):
        (handle,) = client.submit_many(["x"], model="tiny")
        assert isinstance(handle, JobHandle)
        assert handle.wait().text == handle.wait(0).text == "Paris."
    assert len(stub.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        [], {"data": {}}, {"data": []}, {"data": [None]}, {"data": [{}]}, {"data": [{"job": 5}]},
        {"data": [{"error": "no"}]}, {"data": [{"error": {"detail": "no code"}}]},
    ],
)  # fmt: skip
def test_an_answer_that_says_something_else_is_called_out(answer: Any) -> None:
    with (
        serving(lambda _asked: json_answer(answer)) as (_, client),
        pytest.raises(UnexpectedAnswerError),
    ):
        client.submit_many(["x"], model="tiny")
