"""What the store accepts, replays and refuses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from contract import keys
from contract.errors import (
    IdempotencyConflictError,
    NoWorkerError,
    QueueFullError,
    StoreUnavailableError,
)
from contract.job import JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer


def test_a_submitted_job_waits_and_says_why(store: JobStore) -> None:
    submission = store.submit(new_job())
    assert submission.job.state is JobState.QUEUED
    assert submission.job.queue_position == 1
    assert submission.job.waiting_reason is WaitingReason.NO_WORKER
    assert submission.job.eta_s is None


def test_a_repeated_submit_call_records_one_job(store: JobStore) -> None:
    new = new_job()
    assert store.submit(new).job.id == store.submit(new).job.id
    assert len(store.list_jobs(state=None, model=None, limit=10, after=None).items) == 1


def test_the_same_key_replays_and_another_body_conflicts(store: JobStore) -> None:
    first = store.submit(new_job(idempotency_key="k", body_sha256="a"))
    again = store.submit(new_job(idempotency_key="k", body_sha256="a"))
    assert (again.job.id, again.replayed) == (first.job.id, True)
    with pytest.raises(IdempotencyConflictError):
        store.submit(new_job(idempotency_key="k", body_sha256="b"))


def test_a_full_backlog_refuses_with_the_time_until_there_is_room(
    connection: Connection, settings: Settings
) -> None:
    store = JobStore(connection, replace(settings, max_backlog=2))
    worker = attempts(connection, settings)
    for _ in range(2):
        store.submit(new_job())
    with pytest.raises(QueueFullError) as refused:
        store.submit(new_job())
    assert refused.value.retry_after_s == 5  # nothing has been measured yet
    assert finish(worker, claim(worker))
    store.submit(new_job())
    with pytest.raises(QueueFullError) as refused:
        store.submit(new_job())
    assert 1 <= refused.value.retry_after_s <= 10  # one finished in the last seconds


def test_no_worker_is_an_error_only_where_one_is_required(
    connection: Connection, settings: Settings
) -> None:
    strict = JobStore(connection, replace(settings, require_worker=True))
    with pytest.raises(NoWorkerError):
        strict.submit(new_job())
    attempts(connection, settings)
    assert strict.submit(new_job()).job.state is JobState.QUEUED


def test_a_worker_that_drains_counts_as_none(store: JobStore, worker: AttemptStore) -> None:
    job = store.submit(new_job()).job
    assert store.get(job.id).waiting_reason is None
    worker.beat(state="draining", queues=[QUEUE], held=[])
    assert store.get(job.id).waiting_reason is WaitingReason.NO_WORKER


def test_a_server_that_is_away_or_full_is_one_clear_error(
    own_redis: RedisServer, settings: Settings
) -> None:
    there = replace(settings, redis_url=own_redis.url)
    store = JobStore.connect(there)
    own_redis.client().config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailableError, match="maxmemory"):
        store.submit(new_job())
    own_redis.kill()
    with pytest.raises(StoreUnavailableError):
        store.submit(new_job())


def test_every_key_in_redis_matches_one_documented_family(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    store.submit(new_job(fingerprint="same", idempotency_key="k", deadline_s=60))
    store.submit(new_job(fingerprint="same"))
    finish(worker, claim(worker))
    families: list[Callable[..., Any]] = list(keys.ALL)
    prefixes = tuple(family.template.split("{}")[0] for family in keys.ALL)
    assert families
    found = [str(name) for name in connection.redis.scan_iter(count=1000)]
    assert found
    assert [name for name in found if not name.startswith(prefixes)] == []
