"""A front is told to stop while clients hang on its lines."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from millrace.client import Client
from millrace.client.sse import ServerSentEvent, read_events
from tests.faults.conftest import Row
from tests.support.fronts import FrontServer
from tests.support.lab import Lab
from tests.support.ledger import settle
from tests.support.service import prompt
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)
STREAMS, WAITS, SUBMITS = 12, 6, 6
TOKENS = 300
JOBS = "/api/v1/jobs"


def test_streams_and_waits_end_cleanly_with_their_front_and_go_on_at_another(
    tmp_path: Path, row: Row
) -> None:
    lab = Lab(tmp_path, workers=1, fronts=2, token_s=0.02, SLOTS="32").start()
    begun = threading.Semaphore(0)
    first, second = lab.fronts
    try:
        jobs = [lab.submit(prompt(f"story {n}", TOKENS))["id"] for n in range(WAITS)]
        with ThreadPoolExecutor(STREAMS + WAITS + SUBMITS) as pool:
            waits = [pool.submit(wait, first, job) for job in jobs]
            submits = [pool.submit(submit_and_wait, first, n) for n in range(SUBMITS)]
            streams = [pool.submit(follow, first, jobs[n % WAITS], begun) for n in range(STREAMS)]
            for _ in range(STREAMS):
                assert begun.acquire(timeout=30)
            eventually(lambda: lines(first) >= STREAMS + WAITS + SUBMITS, timeout_s=10)
            assert first.stop() == 0
            told = [(job, events) for job, events in (stream.result() for stream in streams)]
            asked = [call.result() for call in waits + submits]
        # The last ones submitted may not have been claimed yet: either is the truth.
        assert {answer["status"] for answer in asked} <= {"queued", "in_progress"}
        for job, events in told:
            assert events[-1].name == "token"
            rest = list(read(second, job, after=events[-1].id))
            recorded = lab.store.read_events({job: "0-0"})[job]
            assert [event.id for event in (*events, *rest)] == [event.id for event in recorded]
            assert rest[-1].name == "done"
        ended = [wait(second, answer["id"]) for answer in asked]
        account = settle(lab, [*dict.fromkeys(answer["id"] for answer in ended)], timeout_s=30)
        lost = f"{STREAMS} streams and {WAITS + SUBMITS} waits taken up at the other"
        row("SIGTERM of a front with open lines", account, lost)
        account.check()
        assert {answer["status"] for answer in ended} == {"completed"}
    finally:
        lab.stop()


def test_users_of_the_only_front_outlive_its_stop_and_its_death(tmp_path: Path, row: Row) -> None:
    lab = Lab(tmp_path, workers=1, token_s=0.02).start()
    (front,) = lab.fronts
    told: list[str] = []
    try:
        with Client(front.url) as user, ThreadPoolExecutor(2) as pool:
            job = user.submit("a story that is told twice", model="tiny", max_tokens=2 * TOKENS)
            reads = pool.submit(lambda: told.extend(job.stream()))
            waits = pool.submit(user.job(job.id).wait)
            eventually(lambda: told)
            assert front.stop() == 0
            heard = len(told)
            eventually(lambda: len(told) > heard, timeout_s=30)
            front.kill()
            reads.result()
            ended = waits.result()
            late = user.submit("a story after that", model="tiny", max_tokens=4).wait()
        account = settle(lab, [job.id, late.id], timeout_s=30)
        row("SIGTERM, then kill -9 of the only front", account, "its users noticed nothing")
        account.check()
        assert ended.text == "".join(told)
        assert account.states == {"completed": 2}
    finally:
        lab.stop()


def wait(front: FrontServer, job: str) -> dict[str, Any]:
    """The job when it ends, or when the front goes."""
    with front.client() as http:
        answer = http.get(f"{JOBS}/{job}?wait=25")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def submit_and_wait(front: FrontServer, number: int) -> dict[str, Any]:
    """A new job when it ends, or when the front goes."""
    with front.client() as http:
        body = prompt(f"another story {number}", TOKENS)
        answer = http.post(JOBS, json=body, headers={"Prefer": "wait=25"})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def follow(
    front: FrontServer, job: str, begun: threading.Semaphore
) -> tuple[str, list[ServerSentEvent]]:
    """What a job's stream says until the front goes; ``begun`` at its first token."""
    events: list[ServerSentEvent] = []
    for event in read(front, job):
        events.append(event)
        if event.name == "token" and events[-2].name != "token":
            begun.release()
    return job, events


def read(front: FrontServer, job: str, after: str = "0-0") -> Iterator[ServerSentEvent]:
    """A stream to its proper end; httpx raises when a line is cut before."""
    headers = {"Last-Event-ID": after}
    with (
        front.client() as http,
        http.stream("GET", f"{JOBS}/{job}/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield from read_events(answer.iter_raw())


def lines(front: FrontServer) -> int:
    """How many connections a front holds."""
    return sum(
        line.status == psutil.CONN_ESTABLISHED
        for process in psutil.Process(front.pid).children()
        for line in process.net_connections("tcp4")
        if line.laddr.port == front.port
    )
