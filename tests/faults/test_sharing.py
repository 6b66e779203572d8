"""Many clients ask the same at the same moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.service import prompt
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(120)
CLIENTS = 100


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), workers=2).start()
    yield stack
    stack.stop()


def test_a_hundred_identical_jobs_at_once_are_executed_once(stack: Stack) -> None:
    body = prompt("one question, asked by everybody", 100)
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = list(pool.map(lambda _: stack.submit(body)["id"], range(CLIENTS)))
    assert len(set(jobs)) == CLIENTS
    done = [stack.finished(job) for job in jobs]
    assert {job["status"] for job in done} == {"completed"}
    assert len({job["output"]["text"] for job in done}) == 1
    assert sum(not job["cached"] for job in done) == 1
    assert sum(job["attempts"] for job in done) == 1


def test_a_hundred_submits_with_one_key_are_one_job(stack: Stack) -> None:
    body = prompt("one job, sent by a nervous client", 50, cache=False)
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = set(pool.map(lambda _: stack.submit(body, key="nervous")["id"], range(CLIENTS)))
    assert len(jobs) == 1
    assert stack.finished(jobs.pop())["attempts"] == 1
