"""Streams of events: complete, in order, resumable, and ended when the job is."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from structlog.testing import capture_logs

from contract.job import Claim
from model_store.store import ModelStore
from producer.events import stream_events
from producer.wakeups import MAX_QUEUED, QUIET_SWEEP_S
from tests.integration.http.conftest import MakeFront
from tests.support.fronts import FrontServer, LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

JOBS = "/api/v1/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One server-sent event."""

    id: str
    kind: str
    data: dict[str, Any]


def parse(chunks: Iterator[str]) -> Iterator[Received]:
    """Events of a stream, without comments."""
    fields: dict[str, str] = {}
    for line in chunks:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Received(
                id=fields.get("id", ""), kind=fields["event"], data=json.loads(fields["data"])
            )
            fields = {}
        else:
            fields = {}


@contextmanager
def follow(http: httpx.Client, job_id: str, **headers: str) -> Iterator[Iterator[Received]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with http.stream("GET", f"{JOBS}/{job_id}/events", headers=named) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield parse(response.iter_lines())


def submit(http: httpx.Client, **fields: Any) -> str:
    response = http.post(JOBS, json={"model": "tiny", "input": "hello", **fields})
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


def started(http: httpx.Client, worker: HandWorker) -> tuple[str, Claim]:
    job_id = submit(http)
    return job_id, worker.claim()


def test_a_stream_tells_a_job_from_its_start_to_its_end(
    http: httpx.Client, worker: HandWorker
) -> None:
    job_id, claim = started(http, worker)
    with follow(http, job_id) as events:
        found = [next(events)]
        worker.say(claim, "Par")
        found += [next(events), next(events)]
        worker.say(claim, "is.")
        worker.finish(claim)
        found += list(events)

    assert [event.kind for event in found] == ["status", "status", "token", "token", "done"]
    assert found[2].data == {"text": "Par", "offset": 0, "completion_tokens": 1, "attempt": 1}
    assert found[-1].data == {"status": "completed", "attempt": 1}
    assert len({event.id for event in found}) == len(found)


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(
    http: httpx.Client, worker: HandWorker
) -> None:
    job_id, claim = started(http, worker)
    worker.say(claim, "a", "b", "c", "d")
    with follow(http, job_id) as events:
        seen = [next(events) for _ in range(4)]
    worker.finish(claim)

    with follow(http, job_id, Last_Event_ID=seen[-1].id) as events:
        rest = list(events)
    by_query = http.get(f"{JOBS}/{job_id}/events?after={seen[-1].id}").text

    assert [event.data.get("text") for event in seen] == [None, None, "a", "b"]
    assert [event.data.get("text") for event in rest] == ["c", "d", None]
    assert [event.id for event in parse(iter(by_query.split("\n")))] == [each.id for each in rest]


def test_the_stream_of_an_ended_job_is_told_whole_and_closed(
    http: httpx.Client, worker: HandWorker
) -> None:
    job_id, claim = started(http, worker)
    worker.say(claim, "Paris.")
    worker.finish(claim)

    with follow(http, job_id) as events:
        found = list(events)

    assert [event.kind for event in found] == ["status", "status", "token", "done"]
    nothing_more = http.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": found[-1].id})
    assert nothing_more.status_code == 204


def test_a_cancelled_job_ends_its_stream(http: httpx.Client) -> None:
    job_id = submit(http)
    with follow(http, job_id) as events:
        next(events)
        http.post(f"{JOBS}/{job_id}/cancel")
        rest = list(events)

    assert [event.data for event in rest] == [{"status": "cancelled", "attempt": 0}]


def test_a_job_that_is_answered_from_the_cache_has_a_stream_that_ends(
    http: httpx.Client, worker: HandWorker
) -> None:
    _, claim = started(http, worker)
    worker.finish(claim)

    with follow(http, submit(http)) as events:
        assert [event.kind for event in events][-1] == "done"


def test_many_readers_of_one_job_get_the_same(http: httpx.Client, worker: HandWorker) -> None:
    job_id, claim = started(http, worker)
    told: list[list[str]] = []

    def read() -> None:
        own = httpx.Client(base_url=http.base_url, trust_env=False, timeout=30)
        with own, follow(own, job_id) as events:
            told.append([event.id for event in events])

    threads = [threading.Thread(target=read) for _ in range(20)]
    for number, thread in enumerate(threads):
        thread.start()
        worker.say(claim, f"{number} ")
    worker.finish(claim)
    for thread in threads:
        thread.join()

    assert len(told) == 20
    assert len(told[0]) == 23
    assert all(ids == told[0] for ids in told)


def test_a_head_request_opens_no_stream(http: httpx.Client) -> None:
    job_id = submit(http)

    response = http.head(f"{JOBS}/{job_id}/events")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")


def test_a_silent_stream_has_heartbeats(front: LocalFront) -> None:
    job_id = front.app.test_client().post(JOBS, json={"model": "tiny", "input": "x"}).json["id"]  # type: ignore[index]
    chunks = stream_events(front.store, front.hub, job_id, after="0-0", heartbeat_s=0.05)

    assert next(chunks).startswith(b"retry:")
    assert b"event: status" in next(chunks)
    assert next(chunks) == b": waiting\n\n"
    chunks.close()  # type: ignore[attr-defined]


def test_a_stream_survives_a_restart_of_redis(
    own_redis: RedisServer, make_front: MakeFront
) -> None:
    front = make_front(redis_url=own_redis.url)
    client = front.app.test_client()
    job_id = client.post(JOBS, json={"model": "tiny", "input": "x"}).json["id"]  # type: ignore[index]
    told: list[str] = []

    def read() -> None:
        told.append(client.get(f"{JOBS}/{job_id}/events").text)

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: front.hub.readers)
    with capture_logs() as said:
        own_redis.kill()
        eventually(lambda: said, timeout_s=10)
        time.sleep(2 * QUIET_SWEEP_S)  # what is tested is that nothing more is said
        assert [line["event"] for line in said] == ["events.unread"]
        own_redis.start()
        eventually(lambda: said[-1]["event"] == "events.read_again", timeout_s=10)
    eventually(lambda: front.app.test_client().post(f"{JOBS}/{job_id}/cancel").status_code == 202)
    thread.join(timeout=30)

    assert told
    kinds = [event.kind for event in parse(iter(told[0].split("\n")))]
    assert kinds == ["status", "done"]


def test_a_slow_reader_gets_everything_and_is_kept_little_of(
    front: LocalFront, worker: HandWorker
) -> None:
    client = front.app.test_client()
    job_id = client.post(JOBS, json={"model": "tiny", "input": "x"}).json["id"]  # type: ignore[index]
    claim = worker.claim()
    with front.hub.subscribe(job_id) as slow, front.hub.subscribe(job_id) as quick:
        read = [event.id for event in slow.take(5)]
        told = [event.id for event in quick.take(5)]
        for number in range(4):
            worker.say(claim, *(f"{number}.{n} " for n in range(MAX_QUEUED // 2)))
        worker.finish(claim)
        while len(told) < 2 * MAX_QUEUED + 3:
            told += [event.id for event in quick.take(5)]
        assert slow.queued <= MAX_QUEUED
        while len(read) < len(told):
            fresh = slow.take(5)
            assert fresh, "the slow reader missed something"
            read += [event.id for event in fresh]

    assert read == told


def test_a_server_that_is_told_to_stop_ends_its_streams(
    redis_server: RedisServer, models: ModelStore, tmp_path: Path
) -> None:
    environ = {"MILLRACE_REDIS_URL": redis_server.url, "MILLRACE_MODELS_DIR": str(models.root)}
    own = FrontServer(environ, tmp_path / "front.log").start()
    with own.client() as http:
        job_id = submit(http)
        with follow(http, job_id) as events:
            next(events)
            status = own.stop()
            assert list(events) == []
    assert status == 0
