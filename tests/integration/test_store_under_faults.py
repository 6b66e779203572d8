"""The store's scripts when calls are repeated, Redis is full or stands still, or clocks jump."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from contract import keys
from contract.errors import EngineError, StoreUnavailableError
from contract.job import Claim, JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, ClaimBlocked, Connection, JobStore, ReapStore
from contract.store.connection import translated
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

ABOUT = {"model": "tiny", "version": 1, "digest": "0123456789abcdef"}


@pytest.fixture
def store(connection: Connection, settings: Settings) -> JobStore:
    return JobStore(connection, settings)


@pytest.fixture
def worker(connection: Connection, settings: Settings) -> AttemptStore:
    return registered(connection, settings, "w1")


def registered(connection: Connection, settings: Settings, name: str) -> AttemptStore:
    worker = AttemptStore(connection, settings, name)
    worker.register(
        queues={QUEUE: ABOUT}, host="here", pid=1, device="cpu", models=[],
        slots=settings.slots, state="ready",
    )  # fmt: skip
    return worker


def claim(worker: AttemptStore) -> Claim:
    found = worker.claim([QUEUE], uuid.uuid4().hex)
    assert found is not None
    return found


def finish(worker: AttemptStore, claimed: Claim) -> bool:
    return worker.finish(claimed, {"text": "yes", "finish_reason": "stop"}, {})


def reap_soon(connection: Connection, reaper: ReapStore) -> list[str]:
    """What one more call reports, made at once, as the call that follows a long gap."""
    connection.redis.hset(keys.REAPED(), "at", "1000")
    return [row.kind for row in reaper.reap()]


def test_a_repeated_publish_writes_each_token_once(store: JobStore, worker: AttemptStore) -> None:
    store.submit(new_job())
    held = claim(worker)
    for offset in (0, 2):
        event = (held.job_id, held.attempt, "token", {"text": "hi", "offset": offset}, 1)
        for _ in range(3):
            assert worker.publish([event]) == set()
    tokens = [e for e in store.read_events({held.job_id: "0-0"})[held.job_id] if e.kind == "token"]
    assert [e.data["offset"] for e in tokens] == [0, 2]


def test_a_job_that_ends_well_after_a_retry_shows_no_error(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    job = store.submit(new_job()).job
    assert worker.fail(claim(worker), EngineError("the engine stumbled")) == "retrying"
    assert store.get(job.id).error is not None
    connection.redis.zadd(keys.RETRYING(QUEUE), {job.id: 1})
    ReapStore(connection, Settings()).reap()
    assert finish(worker, claim(worker))
    done = store.get(job.id)
    assert (done.state, done.error, done.failures) == (JobState.COMPLETED, None, 1)


def test_a_repeated_redrive_call_finds_its_own_work(
    store: JobStore, connection: Connection, settings: Settings
) -> None:
    worker = registered(connection, replace(settings, max_attempts=1), "w1")
    job = store.submit(new_job()).job
    assert worker.fail(claim(worker), EngineError("the engine stumbled")) == "dead"
    assert connection.run("redrive", job.id, "nonce") == 1
    assert connection.run("redrive", job.id, "nonce") == 1
    assert connection.run("redrive", job.id, "another") == 0
    kinds = [e.data.get("cause") for e in store.read_events({job.id: "0-0"})[job.id]]
    assert kinds.count("redriven") == 1


@pytest.mark.parametrize("state", ["pending", "suspects"])
def test_a_run_is_as_urgent_as_the_most_urgent_job_that_shares_it(
    state: str, store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    leader = store.submit(new_job(priority=9, fingerprint="same")).job
    other = store.submit(new_job(priority=5)).job
    if state == "suspects":
        rank = connection.redis.zscore(keys.PENDING(QUEUE), leader.id)
        connection.redis.zrem(keys.PENDING(QUEUE), leader.id)
        connection.redis.hset(keys.JOB(leader.id), "losses", "1")
        connection.redis.zadd(keys.SUSPECTS(QUEUE), {leader.id: str(rank)})
    follower = store.submit(new_job(priority=0, fingerprint="same")).job
    assert follower.waiting_reason is WaitingReason.SHARED_RUN
    assert store.get(leader.id).queue_position == 1
    first = claim(worker)
    assert first.job_id == leader.id
    assert finish(worker, first)
    assert store.get(follower.id).state is JobState.COMPLETED
    assert claim(worker).job_id == other.id


def test_a_job_follows_no_identical_one_in_a_queue_that_perhaps_nobody_serves(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    stuck = store.submit(new_job(queue="alias.0123456789ab", fingerprint="same")).job
    served = store.submit(new_job(fingerprint="same", hint="work")).job
    assert connection.redis.lrange(QUEUE, 0, -1) == ["work"]
    assert claim(worker).job_id == served.id
    assert store.get(stuck.id).waiting_reason is WaitingReason.NO_WORKER


def test_a_draining_worker_leaves_it_to_another_to_make_room_for_suspects(
    connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    connection.redis.set(keys.ISOLATING(QUEUE), "w1", px=1000)
    worker.beat(state="draining", queues=[QUEUE], held=[])
    assert connection.redis.pttl(keys.ISOLATING(QUEUE)) <= 1000
    worker.beat(state="ready", queues=[QUEUE], held=[])
    assert connection.redis.pttl(keys.ISOLATING(QUEUE)) > 1000


def test_a_full_redis_still_lets_workers_beat_and_finish_and_old_records_go(
    own_redis: RedisServer, settings: Settings
) -> None:
    there = replace(settings, redis_url=own_redis.url)
    connection = Connection(own_redis.url)
    store, worker = JobStore(connection, there), registered(connection, there, "w1")
    old = store.submit(new_job()).job
    connection.run("cancel", old.id, 1)
    store.submit(new_job())
    held = claim(worker)
    own_redis.client().config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailableError):
        store.submit(new_job())
    assert worker.beat(state="ready", queues=[QUEUE], held=[(held.job_id, held.attempt)]) == (
        True,
        set(),
    )
    reaper = ReapStore(connection, there)

    def record_is_gone() -> bool:
        reaper.reap()
        return not connection.redis.exists(keys.JOB(old.id))

    eventually(record_is_gone)
    assert finish(worker, held)


@pytest.mark.parametrize(
    "refusal",
    [
        # As Redis 6.2 says it of a command inside a script.
        "Error running script (call to f_10737e): @user_script:184: @user_script: 184: -OOM command"
        " not allowed when used memory > 'maxmemory'.",
        "Error running script (call to f_10737e): @user_script:184: @user_script: 184: -READONLY"
        " You can't write against a read only replica.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    ],
)
def test_a_refusal_that_passes_is_not_taken_for_a_fault_of_ours(refusal: str) -> None:
    with pytest.raises(StoreUnavailableError), translated():
        raise ResponseError(refusal)


def test_after_a_gap_between_reaps_no_lease_runs_out_at_once(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    job = store.submit(new_job()).job
    held = claim(worker)
    connection.redis.zadd(keys.LEASES(), {held.job_id: 1})
    connection.redis.zadd(keys.WORKERS(), {"w1": 1})
    reaper = ReapStore(connection, replace(settings, lease_s=0.1))
    assert "lost" not in reap_soon(connection, reaper)

    def lost() -> bool:
        return "lost" in [row.kind for row in reaper.reap()]

    eventually(lost, timeout_s=5, every_s=0.1)
    assert store.get(job.id).losses == 1


def test_a_redis_that_stood_still_for_longer_than_a_lease_costs_no_live_worker_its_job(
    own_redis: RedisServer, settings: Settings
) -> None:
    there = replace(settings, redis_url=own_redis.url, lease_s=1.0)
    connection = Connection(own_redis.url)
    store = JobStore(connection, there)
    worker = registered(connection, there, "w1")
    reaper = ReapStore(connection, there)
    store.submit(new_job())
    held = claim(worker)
    eventually(lambda: own_redis.client().info("server")["uptime_in_seconds"] >= 3)
    for _ in every(0.2, for_s=1.0):
        worker.beat(state="ready", queues=[QUEUE], held=[(held.job_id, held.attempt)])
        reaper.reap()
    first: list[list[str]] = []
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        # The call that Redis finds first when it wakes, sent while it stands still.
        call = threading.Thread(target=lambda: first.append([r.kind for r in reaper.reap()]))
        call.start()
        for _ in every(0.5, for_s=2.5):
            pass
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    call.join()
    assert "lost" not in first[0]
    assert worker.beat(state="ready", queues=[QUEUE], held=[(held.job_id, held.attempt)]) == (
        True,
        set(),
    )
    assert store.get(held.job_id).losses == 0


def every(pause_s: float, *, for_s: float) -> Iterator[None]:
    """Turns of a loop that lasts for a time: what is tested is that this time passes."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        yield
        time.sleep(pause_s)


def test_a_clock_that_was_set_back_stops_neither_the_reaper_nor_its_view_of_dead_workers(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    store.submit(new_job())
    claim(worker)
    an_hour_ahead = int(time.time() * 1000) + 3_600_000
    connection.redis.hset(keys.REAPED(), "at", str(an_hour_ahead))
    connection.redis.zadd(keys.WORKERS(), {"w1": an_hour_ahead})
    reaper = ReapStore(connection, replace(settings, lease_s=0.1))

    def lost() -> bool:
        return "lost" in [row.kind for row in reaper.reap()]

    eventually(lost, timeout_s=8, every_s=0.1)


def test_a_worker_that_makes_room_is_blocked_only_while_its_batch_runs(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(2)]
    held = claim(worker)
    connection.redis.zrem(keys.PENDING(QUEUE), jobs[1])
    connection.redis.hset(keys.JOB(jobs[1]), "losses", "2")
    connection.redis.zadd(keys.SUSPECTS(QUEUE), {jobs[1]: 1})
    with pytest.raises(ClaimBlocked):
        claim(worker)
    assert finish(worker, held)
    assert claim(worker).job_id == jobs[1]


def test_workers_that_may_start_nothing_are_not_flooded_with_hints(
    store: JobStore, worker: AttemptStore, connection: Connection, settings: Settings
) -> None:
    for _ in range(20):
        store.submit(new_job())
    held = claim(worker)
    connection.redis.hset(keys.JOB(held.job_id), "losses", "2")  # alone, nothing may join it
    reaper = ReapStore(connection, settings)

    def hints() -> int:
        connection.redis.delete(keys.REAPED())
        worker.beat(state="ready", queues=[QUEUE], held=[(held.job_id, held.attempt)])
        return sum(row.parts[1] for row in reaper.reap() if row.kind == "hints")

    hints()
    assert hints() == 1
    assert finish(worker, held)
    assert hints() == 19
