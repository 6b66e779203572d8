"""Calls of OpenAI's API, as a test waits for them."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from contract.job import Claim, Job, JobState
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def asking(http: httpx.Client, **fields: Any) -> Iterator[list[httpx.Response]]:
    """A call that waits for its answer, which is there after the block."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(http.post(CHAT, json={**ASKED, **fields}))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        thread.join(timeout=30)


def claimed(front: LocalFront, worker: HandWorker) -> Claim:
    """The job of a call, once it is there."""
    eventually(lambda: jobs(front, JobState.QUEUED))
    return worker.claim()


def jobs(front: LocalFront, state: JobState | None = None) -> Sequence[Job]:
    return front.store.list_jobs(state=state, model=None, limit=10, after=None).items


def chunks(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "data":
            yield value if value == "[DONE]" else json.loads(value)


def text_of(found: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in found[:-1] for choice in chunk["choices"]
    )
