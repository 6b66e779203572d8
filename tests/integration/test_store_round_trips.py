"""What is done in one call of Redis, and what a job costs there."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from contract import keys
from contract.errors import JobGoneError, UnknownJobError
from contract.job import JobState
from contract.settings import Settings
from contract.store import ENDED, AttemptStore, Connection, JobStore
from tests.support.attempts import USAGE, attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer

OUTPUT = {"text": "yes", "finish_reason": "stop"}
REST = {"text": "yes", "offset": 0, "completion_tokens": 1}


def end(worker: AttemptStore, held: Any, **changes: Any) -> Any:
    """FINISH with the last text, and a claim for the same slot."""
    asked: dict[str, Any] = {
        "last": (held.job_id, held.attempt, "token", REST, 1),
        "queues": [QUEUE],
        "nonce": uuid.uuid4().hex,
    }
    return worker.finish_and_claim(held, OUTPUT, USAGE, **{**asked, **changes})


def kinds(store: JobStore, job: str) -> list[str]:
    return [event.kind for event in store.read_events({job: "0-0"})[job]]


def test_the_end_of_a_job_brings_its_last_text_and_the_next_job(
    store: JobStore, worker: AttemptStore
) -> None:
    first, second = (store.submit(new_job()).job.id for _ in range(2))
    ended = end(worker, claim(worker))
    assert ended.stored
    assert ended.following.job_id == second
    assert kinds(store, first) == ["status", "status", "token", "done"]
    assert store.get(first).progress == 1
    last = end(worker, ended.following)
    assert (last.stored, last.following, last.blocked) == (True, None, False)


def test_an_end_that_is_repeated_writes_nothing_twice_and_brings_the_same_job(
    store: JobStore, worker: AttemptStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(3)]
    held = claim(worker)
    assert end(worker, held, nonce="n") == end(worker, held, nonce="n")
    assert kinds(store, jobs[0]) == ["status", "status", "token", "done"]
    assert [store.get(job).state for job in jobs] == [
        JobState.COMPLETED, JobState.IN_PROGRESS, JobState.QUEUED,
    ]  # fmt: skip


def test_a_job_that_is_not_ours_any_more_gets_no_text_and_its_slot_the_next_job(
    store: JobStore, worker: AttemptStore
) -> None:
    first, second = (store.submit(new_job()).job.id for _ in range(2))
    held = claim(worker)
    store.cancel(first)
    ended = end(worker, held)
    assert not ended.stored
    assert ended.following.job_id == second
    assert kinds(store, first) == ["status", "status", "done"]


def test_a_slot_is_told_when_only_jobs_wait_that_must_not_join_its_batch(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(3)]
    held = [claim(worker) for _ in range(2)]
    connection.redis.zrem(keys.PENDING(QUEUE), jobs[2])
    connection.redis.hset(keys.JOB(jobs[2]), "losses", "2")
    connection.redis.zadd(keys.SUSPECTS(QUEUE), {jobs[2]: 3})
    ended = end(worker, held[0])
    assert (ended.following, ended.blocked) == (None, True)
    assert end(worker, held[1]).following.job_id == jobs[2]


def test_a_claim_that_is_repeated_after_its_job_has_ended_brings_another(
    store: JobStore, worker: AttemptStore
) -> None:
    first, second = (store.submit(new_job()).job.id for _ in range(2))
    held = worker.claim([QUEUE], "nonce")
    assert held is not None
    store.cancel(first)
    again = worker.claim([QUEUE], "nonce")
    assert again is not None
    assert again.job_id == second


def test_a_submit_is_answered_with_its_job_by_one_call(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    store.submit(new_job(fingerprint="same"))
    assert finish(worker, claim(worker))

    def calls() -> int:
        return int(connection.redis.info("commandstats")["cmdstat_evalsha"]["calls"])

    before = calls()
    hit = store.submit(new_job(fingerprint="same", idempotency_key="k")).job
    replayed = store.submit(new_job(fingerprint="same", idempotency_key="k"))
    assert calls() == before + 2
    assert (hit.cached, hit.output["text"]) == (True, "four words of text")
    assert replayed.job == hit
    assert kinds(store, hit.id) == ["status", "done"]
    assert store.read_events({hit.id: "0-1"})[hit.id][0].data == {"status": "completed"}


def test_many_jobs_are_read_by_one_call_and_the_missing_ones_say_so(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    done, gone = (store.submit(new_job()).job.id for _ in range(2))
    for _ in range(2):
        assert finish(worker, claim(worker))
    connection.redis.hset(keys.JOB(gone), "expires_ms", 1)
    found = store.get_many([done, gone, "job_nobody"])
    assert found[0] == store.get(done)
    assert [type(each) for each in found[1:]] == [JobGoneError, UnknownJobError]


def test_a_known_key_whose_job_has_gone_says_so(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    job = store.submit(new_job(idempotency_key="k")).job
    assert finish(worker, claim(worker))
    connection.redis.hset(keys.JOB(job.id), "expires_ms", 1)
    with pytest.raises(JobGoneError):
        store.submit(new_job(idempotency_key="k"))


def test_readers_are_woken_once_for_all_that_a_call_did(
    store: JobStore, worker: AttemptStore
) -> None:
    first, second = (store.submit(new_job()).job.id for _ in range(2))
    held = claim(worker)
    bell = store.subscribe()
    assert bell.wait(1) is None
    assert bell.wait(1) == set()  # the subscription
    end(worker, held)
    assert bell.wait(1) == {first, first + ENDED, second}
    assert bell.wait(0.05) == set()
    store.submit(new_job())
    assert bell.wait(0.05) == set()  # nobody can know of that job yet
    bell.close()


def test_a_job_that_waits_has_no_stream_and_is_told_of_all_the_same(
    store: JobStore, connection: Connection
) -> None:
    job = store.submit(new_job()).job.id
    assert not connection.redis.exists(keys.EVENTS(job))
    [queued] = store.read_events({job: "0-0"})[job]
    assert (queued.kind, queued.attempt, queued.data) == ("status", 0, {"status": "queued"})
    assert store.read_events({job: queued.id})[job] == []


def test_an_input_is_kept_as_long_as_a_run_may_need_it(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    done, dead = (store.submit(new_job()).job.id for _ in range(2))
    assert finish(worker, claim(worker))
    strict = attempts(connection, replace(settings, max_attempts=1))
    assert strict.fail(claim(worker), JobGoneError("broken")) == "failed"
    assert connection.redis.exists(keys.INPUT(done), keys.INPUT(dead)) == 1
    assert connection.redis.exists(keys.INPUT(dead))


def test_a_job_that_waits_takes_at_most_1500_bytes_beyond_its_prompt(
    own_redis: RedisServer, settings: Settings
) -> None:
    store = JobStore(Connection(own_redis.url), replace(settings, max_backlog=10_000))
    redis = own_redis.client()
    parameters: dict[str, Any] = {
        "max_tokens": 128, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "stop": [],
    }  # fmt: skip
    prompt = {"messages": [{"role": "user", "content": "word " * 50}]}

    def used() -> int:
        return int(redis.info("memory")["used_memory"])

    def fill(count: int) -> None:
        for _ in range(count):
            store.submit(new_job(input=prompt, parameters=parameters, hint="a hint"))

    fill(500)
    before, count = used(), 2000
    fill(count)
    each = (used() - before) / count - len(json.dumps(prompt))
    print(f"{each:.0f} bytes for each waiting job")
    assert each <= 1500
