"""Answers that no Millrace gives: the client says so by an error of its own."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import strategies as st

from contract.errors import MillraceError
from millrace import Client
from millrace.client import RetryPolicy
from millrace.client.sse import read_events
from tests.support.fuzzing import Fuzzer, json_values, mutated_bytes, mutated_json
from tests.support.http_stub import Answer, Asked, HttpStub

JOB: dict[str, Any] = {
    "id": "job_1",
    "status": "completed",
    "model": "tiny",
    "model_version": 1,
    "created_at": 1.5,
    "attempts": 1,
    "progress": {"completion_tokens": 1},
    "output": {"text": "Paris", "finish_reason": "stop"},
    "error": {"code": "poisoned", "message": "no", "retryable": False},
    "metadata": {"a": "b"},
}
LISTED = {"object": "list", "data": [{"id": "tiny", "task": "generate"}], "has_more": False}
PROBLEM = {"status": 422, "code": "invalid_request", "detail": "no", "errors": [{"pointer": "/a"}]}
TOKEN = {"attempt": 1, "offset": 0, "text": "Paris", "completion_tokens": 1}
STREAM = (
    b"retry: 1000\n\n: waiting\n\nid: 1-0\nevent: token\ndata: "
    + json.dumps(TOKEN).encode()
    + b'\n\nid: 2-0\nevent: done\ndata: {"status": "completed", "attempt": 1}\n\n'
)
_CODES = st.sampled_from([200, 202, 204, 301, 304, 400, 404, 422, 429, 500, 503, 599])
_WORDS = st.one_of(
    st.sampled_from(["", "0", "nan", "inf", "-1", "1e999", "gzip", "br", "utf-16", "application/"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
)
_HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Content-Type", "Content-Encoding", "Location"]), _WORDS
)


class Asker:
    """A client of a server that answers with whatever it was last told to."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.stub = HttpStub(self._serve)
        policy = RetryPolicy(retries=1, first_s=0.0, longest_s=0.001)
        self.client = Client(self.stub.url, policy=policy, timeout_s=5)

    def _serve(self, _asked: Asked) -> Answer:
        return self.answer

    def ask(self, answer: Answer) -> None:
        """Use the whole client on ``answer``; only errors of the one tree may come of it."""
        self.answer = answer
        client = self.client
        for use in (
            lambda: client.submit("hello").result(),
            lambda: client.job("job_1").job.text,
            lambda: client.job("job_1").job.embeddings,
            lambda: client.models().items,
            lambda: client.submit("hello", model="tiny").cancel(),
        ):
            with contextlib.suppress(MillraceError):
                use()


@pytest.fixture
def asker() -> Any:
    asker = Asker()
    with asker.stub, asker.client:
        yield asker


@pytest.mark.parametrize("record", [JOB, LISTED, PROBLEM], ids=["job", "list", "problem"])
def test_any_json_is_understood_or_refused(
    asker: Asker, fuzzer: Fuzzer, record: dict[str, Any]
) -> None:
    def check(drawn: tuple[int, Any, dict[str, str]]) -> None:
        status, body, headers = drawn
        asker.ask(Answer(status=status, body=json.dumps(body).encode(), headers=headers))

    bodies = st.one_of(mutated_json(record), mutated_json(record), json_values())
    fuzzer.run(
        check,
        st.tuples(_CODES, bodies, _HEADERS),
        examples=25,
        known=[(429, {"code": "queue_full"}, {"Retry-After": each}) for each in ("inf", "nan")],
    )


def test_any_bytes_are_understood_or_refused(asker: Asker, fuzzer: Fuzzer) -> None:
    def check(drawn: tuple[int, bytes, dict[str, str]]) -> None:
        status, body, headers = drawn
        asker.ask(Answer(status=status, body=body, headers=headers))

    bodies = mutated_bytes(json.dumps(JOB).encode())
    fuzzer.run(
        check,
        st.tuples(_CODES, bodies, _HEADERS),
        examples=25,
        known=[(200, b"[" * 100_000, {}), (200, b"{}", {"Content-Encoding": "gzip"})],
    )


def test_any_stream_is_understood_or_refused(fuzzer: Fuzzer) -> None:
    stream = b""

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/events"):
            return Answer(body=stream, headers={"Content-Type": "text/event-stream"})
        return Answer(body=json.dumps(JOB).encode())

    def check(drawn: bytes) -> None:
        nonlocal stream
        stream = drawn
        with contextlib.suppress(MillraceError):
            assert "".join(client.job("job_1").stream()) == "Paris"

    events = mutated_json(TOKEN).map(
        lambda data: STREAM.replace(json.dumps(TOKEN).encode(), json.dumps(data).encode())
    )
    policy = RetryPolicy(retries=1, first_s=0.0)
    with HttpStub(answer) as stub, Client(stub.url, policy=policy, timeout_s=5) as client:
        fuzzer.run(
            check,
            st.one_of(mutated_bytes(STREAM), events),
            examples=60,
            known=[
                b"event: token\ndata: {}\n\n",
                STREAM.replace(b"event: done", b"event: undone"),
                b'event: token\ndata: {"offset": Infinity, "text": "a"}\n\n',
                b'event: token\ndata: {"offset": -1, "text": "a"}\n\n',
                b'event: token\ndata: {"attempt": 1e999, "offset": 0, "text": "a"}\n\n',
                b"event: token\ndata: " + b"[" * 100_000 + b"\n\n",
            ],
        )


def test_a_stream_gives_the_same_events_however_its_bytes_are_cut(fuzzer: Fuzzer) -> None:
    def check(drawn: tuple[bytes, list[int]]) -> None:
        stream, cuts = drawn
        places = sorted(min(each, len(stream)) for each in cuts)
        edges = zip([0, *places], [*places, len(stream)], strict=True)
        chunks = [stream[start:end] for start, end in edges]
        assert list(read_events(chunks)) == list(read_events([stream]))

    cuts = st.lists(st.integers(0, len(STREAM)), max_size=6)
    fuzzer.run(check, st.tuples(mutated_bytes(STREAM), cuts), examples=150)


def test_a_line_that_does_not_end_is_not_kept_for_ever() -> None:
    endless = (b"x" * (1 << 20) for _ in range(1 << 20))

    with pytest.raises(MillraceError, match="does not end"):
        list(read_events(endless))


@pytest.mark.parametrize(
    "url", ["http://[", "http://a:b", "http://a:99999999", "http://\0", "http://a\n", "x", ""]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(MillraceError, match="is not an address"):
        Client(url or "http://")


@pytest.mark.parametrize("job_id", ["\ud800", "a/../b", "\0", "é" * 9, "x" * 9000])
def test_a_job_id_that_is_none_is_asked_for_or_refused(asker: Asker, job_id: str) -> None:
    asker.answer = Answer(status=404, body=json.dumps({"code": "unknown_job"}).encode())
    with pytest.raises(MillraceError):
        asker.client.job(job_id)
