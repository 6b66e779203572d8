"""Many jobs in few round trips: each becomes what a submit of it alone would have made of it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contract import keys
from contract.errors import (
    IdempotencyConflictError,
    MillraceError,
    NotReplicatedError,
    NoWorkerError,
    QueueFullError,
    StoreReplacedError,
    StoreUnavailableError,
)
from contract.job import JobState, NewJob, Submission
from contract.settings import Settings
from contract.store import SUBMITS_AT_ONCE, AttemptStore, Connection, JobStore
from tests.support.attempts import claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer


def jobs_of(outcomes: Sequence[Submission | MillraceError]) -> list[str]:
    """The ids of jobs that were all accepted."""
    refused = [each for each in outcomes if isinstance(each, MillraceError)]
    assert refused == []
    return [each.job.id for each in outcomes if isinstance(each, Submission)]


def kinds(outcomes: Sequence[Submission | MillraceError]) -> list[type[object]]:
    return [type(each) for each in outcomes]


def keyed(name: str, body: str = "a") -> NewJob:
    return new_job(idempotency_key=name, body_sha256=body)


def test_jobs_are_recorded_in_their_order(store: JobStore, worker: AttemptStore) -> None:
    news = [new_job(priority=n % 3) for n in range(2 * SUBMITS_AT_ONCE + 7)]

    outcomes = store.submit_many(news)

    assert jobs_of(outcomes) == [each.id for each in news]
    first = outcomes[0]
    assert isinstance(first, Submission)
    assert first.job.state is JobState.QUEUED
    assert (first.job.queue_position, first.replayed) == (1, False)
    listed = store.list_jobs(state=None, model=None, limit=300, after=None)
    assert [job.id for job in listed.items] == [each.id for each in reversed(news)]
    urgent = [each.id for each in news if each.priority == 0]
    assert [claim(worker).job_id for _ in range(3)] == urgent[:3]


def test_a_hundred_jobs_are_one_round_trip(store: JobStore, connection: Connection) -> None:
    store.submit_many([new_job()])
    redis: Any = connection.redis

    def reads() -> int:
        return int(redis.info("stats")["total_reads_processed"])

    before = reads()
    jobs_of(store.submit_many([new_job() for _ in range(SUBMITS_AT_ONCE)]))
    # Redis reads what came in pieces of 16 kB or more; one job at a time would be 200 of them.
    assert reads() - before <= 20


def test_no_jobs_are_none(store: JobStore) -> None:
    assert store.submit_many([]) == []


def test_each_job_is_cached_replayed_refused_or_recorded_by_itself(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    store.submit(new_job(fingerprint="known"))
    assert finish(worker, claim(worker))
    earlier = store.submit(keyed("k1")).job.id

    cached, replayed, conflict, leader, follower = store.submit_many(
        [
            new_job(fingerprint="known"), keyed("k1"), keyed("k1", "b"),
            new_job(fingerprint="new", hint="of the leader"), new_job(fingerprint="new"),
        ]
    )  # fmt: skip

    assert isinstance(cached, Submission)
    assert (cached.job.state, cached.job.cached) == (JobState.COMPLETED, True)
    assert cached.job.output is None
    assert store.get(cached.job.id).output is not None
    assert isinstance(replayed, Submission)
    assert (replayed.job.id, replayed.replayed) == (earlier, True)
    assert isinstance(conflict, IdempotencyConflictError)
    assert isinstance(leader, Submission)
    assert isinstance(follower, Submission)
    assert connection.redis.lrange(QUEUE, 0, -1) == ["of the leader"]


def test_one_key_twice_in_a_call_is_one_job(store: JobStore) -> None:
    first, second = jobs_of(store.submit_many([keyed("k"), keyed("k")]))

    assert first == second


def test_scripts_that_redis_forgot_are_loaded_again(
    store: JobStore, connection: Connection
) -> None:
    redis: Any = connection.redis
    redis.script_flush()

    assert len(jobs_of(store.submit_many([new_job() for _ in range(3)]))) == 3
    assert store.counters()["jobs_submitted"] == 3


def test_what_fits_into_the_backlog_is_accepted_and_each_other_has_a_time_of_its_own(
    connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    store = JobStore(connection, replace(settings, max_backlog=5))
    store.submit(new_job())
    assert finish(worker, claim(worker))  # now the rate is known

    outcomes = store.submit_many([keyed(f"k{n}") for n in range(50)])

    assert kinds(outcomes) == [Submission] * 5 + [QueueFullError] * 45
    times = [each.retry_after_s for each in outcomes if isinstance(each, QueueFullError)]
    assert times == sorted(times)
    assert times[0] < times[-1]


def test_no_worker_is_told_of_each_where_one_is_required(
    connection: Connection, settings: Settings
) -> None:
    strict = JobStore(connection, replace(settings, require_worker=True))

    assert kinds(strict.submit_many([new_job(), new_job()])) == [NoWorkerError] * 2


def test_replicas_are_waited_for_once_in_a_round_trip_and_then_no_more_is_tried(
    connection: Connection, settings: Settings
) -> None:
    careful = JobStore(connection, replace(settings, min_replicas=1))
    began_s = time.monotonic()

    outcomes = careful.submit_many([new_job() for _ in range(3 * SUBMITS_AT_ONCE)])

    assert time.monotonic() - began_s < 3
    tried = [NotReplicatedError] * SUBMITS_AT_ONCE
    assert kinds(outcomes) == tried + [StoreUnavailableError] * 2 * SUBMITS_AT_ONCE
    assert careful.counters()["jobs_submitted"] == SUBMITS_AT_ONCE


def test_a_full_redis_refuses_the_rest_of_the_jobs(own_redis: RedisServer) -> None:
    store = JobStore.connect(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    jobs_of(store.submit_many([new_job()]))
    redis: Any = own_redis.client()
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + (2 << 20))

    large = {"prompt": "x" * 20_000}
    outcomes = store.submit_many([new_job(input=large) for _ in range(300)])

    accepted = [each for each in outcomes if isinstance(each, Submission)]
    assert len(accepted) > 10
    assert set(kinds(outcomes)) == {Submission, StoreUnavailableError}
    assert kinds(outcomes[-SUBMITS_AT_ONCE:]) == [StoreUnavailableError] * SUBMITS_AT_ONCE
    assert [store.get(each.job.id).state for each in accepted] == ["queued"] * len(accepted)


def test_a_server_that_is_away_is_asked_once_and_not_for_each_job(own_redis: RedisServer) -> None:
    store = JobStore.connect(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    store.ping()
    own_redis.kill()
    began_s = time.monotonic()

    outcomes = store.submit_many([new_job() for _ in range(1000)])

    assert kinds(outcomes) == [StoreUnavailableError] * 1000
    assert time.monotonic() - began_s < 5


def test_another_store_takes_none(store: JobStore, connection: Connection) -> None:
    jobs_of(store.submit_many([new_job()]))
    known = connection.redis.get(keys.STORE())
    connection.redis.set(keys.STORE(), "another")
    try:
        assert kinds(store.submit_many([new_job(), new_job()])) == [StoreReplacedError] * 2
    finally:
        connection.redis.set(keys.STORE(), str(known))
    assert store.counters()["jobs_submitted"] == 1
