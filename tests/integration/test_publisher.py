"""Text on its way to Redis: at once for a job's first, then many jobs' in one call."""

from collections.abc import Iterator

import pytest

from contract.job import Claim
from contract.store import AttemptStore, JobStore
from tests.support.attempts import claim
from tests.support.jobs import new_job
from tests.support.waiting import eventually
from workers.engine import GenerationRequest, GenerationResult, Run
from workers.publisher import TokenPublisher

NEVER_S = 60.0


@pytest.fixture
def publisher(worker: AttemptStore) -> Iterator[TokenPublisher]:
    made = TokenPublisher(worker, on_lost=lambda *_: None, interval_s=NEVER_S)
    made.start()
    yield made
    made.stop()


def started(store: JobStore, worker: AttemptStore) -> Claim:
    store.submit(new_job())
    return claim(worker)


def texts(store: JobStore, job: Claim) -> list[str]:
    events = store.read_events({job.job_id: "0-0"})[job.job_id]
    return [event.data["text"] for event in events if event.kind == "token"]


def test_the_first_text_of_each_job_goes_out_at_once_and_takes_what_others_have_along(
    store: JobStore, worker: AttemptStore, publisher: TokenPublisher
) -> None:
    early, late = started(store, worker), started(store, worker)
    stream = publisher.open(early)
    stream.write("a", 1)
    eventually(lambda: texts(store, early) == ["a"])
    stream.write("b", 2)
    stream.write("c", 3)
    publisher.open(late).write("x", 1)
    eventually(lambda: texts(store, late) == ["x"])
    assert texts(store, early) == ["a", "bc"]


def test_the_last_text_of_a_run_that_ended_is_left_to_the_end_of_its_job(
    store: JobStore, worker: AttemptStore, publisher: TokenPublisher
) -> None:
    ended, other = started(store, worker), started(store, worker)
    run: Run[GenerationRequest, GenerationResult] = Run(
        GenerationRequest(prompt_tokens=[1], max_tokens=1)
    )
    stream = publisher.open(ended)
    stream.follow(run)
    run.drop()
    stream.write("all of it", 1)
    publisher.open(other).write("x", 1)
    eventually(lambda: texts(store, other) == ["x"])
    assert texts(store, ended) == []
    rest = publisher.rest(stream)
    assert rest is not None
    assert rest[3] == {"text": "all of it", "offset": 0, "completion_tokens": 1}
    assert publisher.rest(stream) is None
