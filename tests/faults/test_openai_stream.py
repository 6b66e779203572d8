"""The worker of an OpenAI stream dies in the midst of it, and the client sees nothing of that."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from contract.job import Job, JobState
from tests.support.lab import Lab

pytestmark = pytest.mark.timeout(180)

TOKENS = 900
QUESTIONS = [f"Tell me all about the number {number}." for number in range(3)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Two workers with the tiny real model, and no cache: every question is run."""
    lab = Lab(tmp_path, workers=2, CACHE_TTL_S="0").start()
    yield lab
    lab.stop()


@pytest.fixture
def client(lab: Lab) -> Iterator[OpenAI]:
    """The official client; what it would try again by itself would be seen."""
    url = f"{lab.fronts[0].url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 7}])
def test_a_chat_goes_on_from_the_next_token(
    lab: Lab, client: OpenAI, sampling: dict[str, float]
) -> None:
    for question in QUESTIONS:
        undisturbed = "".join(_chat(client, question, sampling))
        assert undisturbed
        pieces = []
        for piece in _chat(client, question, sampling):
            pieces.append(piece)
            if len(pieces) == 3:
                _kill(lab)
        assert "".join(pieces) == undisturbed
        assert _jobs(lab)[0].attempts == 2


def test_a_response_in_the_background_has_each_event_once(lab: Lab, client: OpenAI) -> None:
    asked = {"model": "tiny", "input": QUESTIONS[0], "max_output_tokens": TOKENS}
    undisturbed = client.responses.create(**asked, temperature=0).output_text  # type: ignore[call-overload]
    begun = client.responses.create(**asked, temperature=0, background=True, stream=True)  # type: ignore[call-overload]
    events = []
    for event in begun:
        events.append(event)
        if len(events) == 8:
            _kill(lab)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    ended = events[-1].response
    assert ended.output_text == undisturbed
    texts = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(texts) == undisturbed
    assert _jobs(lab)[0].attempts == 2
    again = list(client.responses.retrieve(ended.id, stream=True, starting_after=9))
    assert [event.sequence_number for event in again] == list(range(10, len(events)))


def _chat(client: OpenAI, question: str, sampling: dict[str, float]) -> Iterator[str]:
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="tiny",
        messages=[{"role": "user", "content": question}],
        max_tokens=TOKENS,
        stream=True,
        **sampling,
    )
    for chunk in stream:
        text = chunk.choices[0].delta.content
        if text:
            yield text


def _kill(lab: Lab) -> None:
    """kill -9 of the worker that runs the one job there is; the lab starts another."""
    (job,) = (each for each in _jobs(lab) if each.state is JobState.IN_PROGRESS)
    (worker,) = (each for each in lab.store.workers() if each.id == job.worker)
    os.kill(worker.pid, signal.SIGKILL)


def _jobs(lab: Lab) -> list[Job]:
    page = lab.store.list_jobs(state=None, model=None, limit=100, after=None)
    return [lab.store.get(each.id) for each in page.items]
