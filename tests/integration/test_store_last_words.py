"""What a worker says before it ends, and claims that it never heard of."""

import errno
import os
import signal
import socket
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from contract import keys
from contract.errors import StoreUnavailableError
from contract.job import JobState
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, Reaped, ReapStore
from contract.store.connection import translated
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import now_ms, reap
from tests.support.redis_server import RedisServer


def test_a_worker_that_says_why_it_ends_loses_its_jobs_at_once_and_gets_no_more(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore
) -> None:
    store.submit(new_job())
    held = claim(worker)
    assert worker.abandon("engine_stalled")
    lost = Reaped(kind="lost", parts=(held.job_id, "w1", "engine_stalled", "queued"))
    assert lost in reap(connection, reaper)
    assert store.get(held.job_id).losses == 1
    assert worker.claim([QUEUE], "nonce") is None
    assert not finish(worker, held)


def test_a_full_redis_hears_last_words_too(own_redis: RedisServer, settings: Settings) -> None:
    there = replace(settings, redis_url=own_redis.url)
    connection = Connection(own_redis.url)
    worker = attempts(connection, there)
    own_redis.client().config_set("maxmemory", "1")
    assert worker.abandon("engine_failed")


def test_last_words_of_a_worker_that_was_missed_long_ago_leave_nothing_behind(
    worker: AttemptStore, connection: Connection
) -> None:
    worker.unregister([QUEUE])
    assert not worker.abandon("engine_failed")
    assert not connection.redis.exists(keys.WORKER("w1"))


def test_a_dead_letter_tells_what_became_of_its_last_worker(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    job = store.submit(new_job()).job
    for number in range(4):
        worker = attempts(connection, settings, f"w{number}")
        claim(worker)
        worker.abandon("engine_stalled")
        reap(connection, reaper)
    dead = store.get(job.id)
    assert dead.dead
    assert dead.error is not None
    assert (dead.error["code"], dead.losses) == ("poisoned", 4)
    assert dead.error["message"].endswith("last worker w3, cause engine_stalled")


def test_a_claim_that_was_never_heard_of_costs_the_job_nothing_when_its_lease_ends(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore
) -> None:
    store.submit(new_job())
    unheard = claim(worker)
    connection.redis.zadd(keys.LEASES(), {unheard.job_id: 1})
    worker.beat(state="ready", queues=[QUEUE], held=[])
    report = reap(connection, reaper)
    assert Reaped(kind="given_back", parts=(unheard.job_id,)) in report
    assert Reaped(kind="hints", parts=(QUEUE, 1)) in report
    left = store.get(unheard.job_id)
    assert (left.state, left.losses, left.started_ms) == (JobState.QUEUED, 0, None)


def test_a_claim_that_is_never_heard_of_again_and_again_is_counted_in_the_end(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore
) -> None:
    job = store.submit(new_job()).job
    for _ in range(4):
        claim(worker)
        connection.redis.zadd(keys.LEASES(), {job.id: 1})
        worker.beat(state="ready", queues=[QUEUE], held=[])
        last = reap(connection, reaper)
    assert Reaped(kind="lost", parts=(job.id, "w1", "lease_expired", "queued")) in last
    assert store.get(job.id).losses == 1


def test_a_claim_that_is_found_again_has_a_whole_lease_before_it(
    store: JobStore, worker: AttemptStore, connection: Connection, settings: Settings
) -> None:
    store.submit(new_job())
    first = worker.claim([QUEUE], "nonce")
    assert first is not None
    connection.redis.zadd(keys.LEASES(), {first.job_id: 1})
    assert worker.claim([QUEUE], "nonce") == first
    ends_ms = connection.redis.zscore(keys.LEASES(), first.job_id)
    assert ends_ms is not None
    assert ends_ms > now_ms(connection) + 900 * settings.lease_s


def test_a_worker_that_leaves_in_order_gives_back_what_it_never_heard_of(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    store.submit(new_job())
    unheard = claim(worker)
    worker.unregister([QUEUE])
    left = store.get(unheard.job_id)
    assert (left.state, left.losses, left.queue_position) == (JobState.QUEUED, 0, 1)
    assert not connection.redis.zcard(keys.LEASES())


def test_a_server_that_says_nothing_is_told_from_one_that_refuses(own_redis: RedisServer) -> None:
    def failure() -> StoreUnavailableError:
        with pytest.raises(StoreUnavailableError) as raised:
            connection.run("identify", "an id")
        return raised.value

    connection = Connection(own_redis.url)
    own_redis.client().config_set("maxmemory", "1")
    assert not failure().silent
    own_redis.client().config_set("maxmemory", "0")
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        assert failure().silent
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    own_redis.kill()
    assert not failure().silent


@pytest.mark.parametrize(
    ("met", "silent"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (OSError(errno.ECONNRESET, "Connection reset by peer"), False),
    ],
)
def test_a_host_or_name_out_of_reach_is_silent_and_one_that_resets_is_not(
    met: OSError, silent: bool
) -> None:
    with pytest.raises(StoreUnavailableError) as raised, translated():
        as_redis_py_puts_it(met)
    assert raised.value.silent is silent


def as_redis_py_puts_it(met: OSError) -> None:
    try:
        raise met
    except OSError as error:
        raise RedisConnectionError(str(error)) from None
