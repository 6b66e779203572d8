"""Streams that break, resume and repeat."""

import json
from typing import Any

import pytest

from contract.errors import PoisonedJobError, ServerUnreachableError, StreamDivergedError
from contract.transcript import Transcript
from millrace import Client
from millrace.client import RetryPolicy
from millrace.client.sse import read_events
from tests.support.http_stub import Answer, Asked, HttpStub, json_answer, sse

TEXT = "The capital of France is Paris."


def finished(text: str = TEXT, **fields: Any) -> Answer:
    output = {"text": text, "finish_reason": "stop"}
    return json_answer({"id": "job_1", "status": "completed", "output": output, **fields})


def token(offset: int, text: str, attempt: int = 1) -> dict[str, Any]:
    return {"attempt": attempt, "offset": offset, "text": text, "completion_tokens": 1}


def run(*streams: Answer, job: Answer | None = None) -> tuple[list[str], list[Asked]]:
    """The pieces that a caller gets when the connections answer ``streams`` in turn."""
    remaining = list(streams)

    def answer(asked: Asked) -> Answer:
        return remaining.pop(0) if asked.path.endswith("/events") else job or finished()

    policy = RetryPolicy(retries=2, first_s=0.001)
    with HttpStub(answer) as stub, Client(stub.url, policy=policy) as client:
        pieces = list(client.job("job_1").stream())
    return pieces, [each for each in stub.asked if each.path.endswith("/events")]


def test_a_stream_yields_each_token_once_and_ends_with_the_job() -> None:
    pieces, _ = run(
        sse(
            ("1-0", "status", {"status": "in_progress"}),
            ("2-0", "token", token(0, TEXT[:11])),
            ("3-0", "token", token(11, TEXT[11:])),
            ("4-0", "done", {"status": "completed"}),
        )
    )
    assert pieces == [TEXT[:11], TEXT[11:]]


def test_a_broken_connection_is_resumed_after_the_last_event_seen() -> None:
    pieces, asked = run(
        sse(("2-0", "token", token(0, TEXT[:11])), broken=True),
        Answer(status=503, body=json.dumps({"code": "store_unavailable"}).encode()),
        sse(("3-0", "token", token(11, TEXT[11:])), ("4-0", "done", {})),
    )
    assert "".join(pieces) == TEXT
    assert [each.headers.get("Last-Event-ID") for each in asked] == [None, "2-0", "2-0"]


def test_a_stream_that_ends_early_without_an_error_is_resumed_too() -> None:
    pieces, asked = run(
        sse(("2-0", "token", token(0, TEXT))),
        sse(("4-0", "done", {})),
    )
    assert pieces == [TEXT]
    assert asked[1].headers["Last-Event-ID"] == "2-0"


def test_a_stream_resumed_behind_its_last_event_is_over() -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(status=204) if asked.path.endswith("/events") else finished()

    with HttpStub(answer) as stub, Client(stub.url) as client:
        assert list(client.job("job_1").events(after="4-0")) == []
        assert [each.path.endswith("/events") for each in stub.asked].count(True) == 1


def test_a_connection_that_never_comes_back_is_an_error() -> None:
    with pytest.raises(ServerUnreachableError, match="ended before the job did"):
        run(*[sse()] * 5)


def test_a_second_attempt_repeats_nothing_to_the_caller() -> None:
    pieces, _ = run(
        sse(
            ("1-0", "token", token(0, "The capital")),
            ("2-0", "token", token(11, " of Fr")),
            ("3-0", "restarted", {"attempt": 2, "cause": "worker_lost"}),
            ("4-0", "token", token(0, "The capital of", 2)),
            ("5-0", "token", token(14, " France is Paris.", 2)),
            ("6-0", "done", {}),
        )
    )
    assert "".join(pieces) == TEXT


def test_a_second_attempt_that_says_something_else_is_an_error() -> None:
    with pytest.raises(StreamDivergedError, match="near character 0"):
        run(
            sse(
                ("1-0", "token", token(0, "The capital")),
                ("2-0", "token", token(0, "The city of", 2)),
                ("3-0", "done", {}),
            )
        )


def test_text_that_no_event_carried_comes_from_the_finished_job() -> None:
    assert run(sse(("1-0", "done", {})))[0] == [TEXT]


def test_a_job_that_fails_while_streamed_raises_its_error() -> None:
    error = {"code": "poisoned", "message": "killed two workers", "retryable": False}
    job = json_answer({"id": "job_1", "status": "failed", "error": error})
    with pytest.raises(PoisonedJobError, match="killed two workers"):
        run(sse(("1-0", "token", token(0, "The")), ("2-0", "done", {"status": "failed"})), job=job)


def test_a_transcript_holds_text_after_a_gap_back_for_the_end() -> None:
    transcript = Transcript("job_1")
    assert transcript.add(0, "one") == "one"
    assert transcript.add(8, "three") == ""
    assert transcript.complete("one two three") == " two three"


def test_a_final_text_shorter_than_what_was_streamed_is_an_error() -> None:
    transcript = Transcript("job_1")
    transcript.add(0, "one two")
    with pytest.raises(StreamDivergedError):
        transcript.complete("one")


def test_events_are_read_as_the_standard_says_however_the_bytes_arrive() -> None:
    body = (
        ": a comment\r\n\r\nid: 7\r\nevent: token\r\ndata: first\r\ndata:second\r\n\r\n"
        "data: a\u2028b\n\nevent: nothing\n\ndata: unfinished"
    ).encode()
    for size in (1, 3, len(body)):
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        events = [(each.id, each.name, each.data) for each in read_events(chunks)]
        assert events == [("7", "token", "first\nsecond"), ("7", "message", "a\u2028b")]
