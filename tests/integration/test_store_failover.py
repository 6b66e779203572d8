"""The store behind Sentinels: what replicas must have, and who the primary is."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from contract.errors import NotReplicatedError, StoreUnavailableError
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from tests.support.attempts import attempts, claim
from tests.support.jobs import QUEUE, new_job
from tests.support.sentinels import SentinelGroup
from tests.support.waiting import eventually

LONGEST_CALL_S = 10.0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path / "redis", password="a@b:c/d")
    try:
        yield group.start()
    finally:
        group.kill()


@pytest.fixture
def there(group: SentinelGroup, settings: Settings) -> Settings:
    """Settings for the group, with one replica asked for."""
    return replace(settings, redis_url=group.url, min_replicas=1)


def test_a_job_is_accepted_or_cancelled_only_when_a_replica_knows_also_when_that_is_repeated(
    group: SentinelGroup, there: Settings
) -> None:
    store = JobStore.connect(there)
    fresh = store.submit(new_job(idempotency_key="first"))
    assert not fresh.replayed
    os.kill(group.replica.pid, signal.SIGSTOP)
    try:
        for front in (store, JobStore.connect(there)):  # the second has written nothing itself
            began_s = time.monotonic()
            with pytest.raises(NotReplicatedError):
                front.submit(new_job(idempotency_key="second"))
            assert time.monotonic() - began_s < LONGEST_CALL_S
        unasked = JobStore.connect(replace(there, min_replicas=0))
        assert unasked.submit(new_job(idempotency_key="second")).replayed
        with pytest.raises(NotReplicatedError):
            store.cancel(fresh.job.id)
    finally:
        os.kill(group.replica.pid, signal.SIGCONT)
    assert eventually(lambda: _replayed(store, "second"))
    assert store.cancel(fresh.job.id)[0].state == "cancelled"
    assert len(store.list_jobs(state=None, model=None, limit=9, after=None).items) == 2


def _replayed(store: JobStore, key: str) -> bool:
    try:
        return store.submit(new_job(idempotency_key=key)).replayed
    except NotReplicatedError:
        return False


def test_a_failover_costs_no_worker_its_jobs_and_the_old_primary_gets_no_writes(
    group: SentinelGroup, there: Settings
) -> None:
    connection = Connection(there.redis_url)
    store, worker = JobStore(connection, there), attempts(connection, there)
    job = store.submit(new_job()).job
    held = claim(worker)
    assert held.job_id == job.id
    ReapStore(connection, there).reap()
    old, _ = group.fail_over()
    old.start()
    assert old.role() == "master"  # until a Sentinel tells it otherwise, some seconds from now
    eventually(lambda: _beats(worker, held.job_id, held.attempt), timeout_s=10)
    # A reaper that saw nothing of the failover, and a worker without its named connection.
    newcomer = ReapStore(Connection(there.redis_url), there)
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        with suppress(StoreUnavailableError):  # while the Sentinels agree, nobody is the primary
            assert [row for row in newcomer.reap() if row.kind in ("lost", "worker")] == []
        time.sleep(0.1)
    unasked = JobStore.connect(replace(there, min_replicas=0))
    later = unasked.submit(new_job()).job.id
    eventually(group.complete, timeout_s=30)
    assert store.get(later).id == later
    assert worker.finish(held, {"text": "x"}, {"total_tokens": 1})
    assert store.submit(new_job()).job.queue == QUEUE


def test_an_old_primary_that_is_back_before_the_failover_ends_gets_no_writes(
    group: SentinelGroup, there: Settings
) -> None:
    replica = group.replica
    old, _ = group.fail_over()
    os.kill(replica.pid, signal.SIGSTOP)  # no Sentinel learns that it has been promoted
    try:
        old.start()
        assert old.role() == "master"
        with pytest.raises(StoreUnavailableError):
            JobStore.connect(replace(there, min_replicas=0)).submit(new_job())
        assert old.client().dbsize() == 0
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    # A replica that stood still for too long may have lost the old one a second election.
    eventually(group.complete, timeout_s=30)
    assert JobStore.connect(there).submit(new_job()).job.queue == QUEUE


def _beats(worker: AttemptStore, job: str, attempt: int) -> bool:
    try:
        return worker.beat(state="ready", queues=[QUEUE], held=[(job, attempt)]) == (True, set())
    except StoreUnavailableError:
        return False


def test_a_primary_or_sentinels_that_stand_still_hold_no_call_for_ten_seconds_and_no_presence(
    group: SentinelGroup, there: Settings
) -> None:
    connection = Connection(there.redis_url)
    store, presence = JobStore(connection, there), attempts(connection, there).presence()
    assert presence.poll(0.1) is None  # connected
    os.kill(group.primary.pid, signal.SIGSTOP)
    calls_s: list[float] = []

    def answers() -> bool:
        began_s = time.monotonic()
        try:
            store.submit(new_job())
        except NotReplicatedError:
            return True  # by the new primary, which has no replica
        except StoreUnavailableError:
            return False
        finally:
            calls_s.append(time.monotonic() - began_s)
        return True

    eventually(answers, timeout_s=30)
    eventually(lambda: presence.poll(0.1) is None, timeout_s=2)
    listed = group.client().client_list(_type="pubsub")
    assert "millrace-worker:w1" in {client["name"] for client in listed}
    presence.close()
    for sentinel in group.sentinels:
        os.kill(sentinel.pid, signal.SIGSTOP)
    store.ping()  # what is connected needs no Sentinel
    store.connection.redis.connection_pool.disconnect()
    assert not answers()
    assert max(calls_s) < LONGEST_CALL_S
