"""How many hints there are: enough to wake every slot that has a job to take, and no more."""

from collections import Counter
from dataclasses import replace

import pytest

from contract import keys
from contract.errors import EngineError
from contract.job import Submission, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, Reaped, ReapStore
from tests.support.attempts import attempts, claim, finish, register
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import reap

SLOTS = 3


@pytest.fixture
def small(settings: Settings) -> Settings:
    return replace(settings, slots=SLOTS)


@pytest.fixture
def worker(connection: Connection, small: Settings) -> AttemptStore:
    return attempts(connection, small)


def submit(store: JobStore, connection: Connection, count: int) -> None:
    for _ in range(count):
        store.submit(new_job(hint="a hint"))


def hints(connection: Connection) -> int:
    return int(connection.redis.llen(QUEUE))


def test_there_are_as_many_hints_as_free_slots_however_many_jobs_wait(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    submit(store, connection, 2)
    assert hints(connection) == 2
    submit(store, connection, 20)
    assert hints(connection) == SLOTS


def test_a_job_behind_full_slots_wants_no_hint_but_one_for_a_slot_that_nobody_knows_of(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    for _ in range(SLOTS):
        store.submit(new_job())
        claim(worker)
    submit(store, connection, 20)
    assert hints(connection) == 1


def test_a_slot_that_left_is_hinted_at_again(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    store.submit(new_job())
    held = claim(worker)
    assert finish(worker, held)
    assert worker.claim([QUEUE], "finds nothing, so its slot leaves") is None
    connection.redis.delete(QUEUE)
    submit(store, connection, 1)
    assert hints(connection) == 1


def test_a_submit_that_is_repeated_sends_the_hint_that_is_lacking(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    job = new_job(hint="a hint")
    for _ in range(2):
        store.submit(job)
    assert hints(connection) == 1
    connection.redis.delete(QUEUE)
    store.submit(job)
    assert hints(connection) == 1


def test_a_hint_is_not_written_to_the_file(
    store: JobStore, connection: Connection, worker: AttemptStore
) -> None:
    def written() -> int:
        return int(connection.redis.info("persistence")["aof_current_size"])

    def growth(hint: str) -> int:
        before = written()
        store.submit(new_job(id=f"job_{before:024}", hint=hint))
        return written() - before

    growth("")
    assert growth("x" * 10_000) < growth("") + 1000
    assert connection.redis.lrange(QUEUE, 0, -1) == ["x" * 10_000]


def test_a_worker_that_registers_is_told_how_many_hints_its_slots_lack(
    store: JobStore, connection: Connection, small: Settings
) -> None:
    submit(store, connection, 20)
    assert hints(connection) == 1
    late = AttemptStore(connection, small, "w1")
    assert register(late, small) == {QUEUE: SLOTS - 1}


def test_the_reaper_makes_up_for_lost_hints_as_far_as_slots_are_free(
    store: JobStore, connection: Connection, worker: AttemptStore, small: Settings
) -> None:
    submit(store, connection, 20)
    connection.redis.delete(QUEUE)
    reaper = ReapStore(connection, small)
    report: list[Reaped] = []
    for _ in range(2):
        worker.beat(state="ready", queues=[QUEUE], held=[])
        report = reap(connection, reaper)
    assert report == [Reaped(kind="hints", parts=(QUEUE, SLOTS))]


def test_a_process_that_need_not_reap_does_not_ask_who_is_connected(
    store: JobStore, connection: Connection, settings: Settings
) -> None:
    def lists() -> int:
        found = connection.redis.info("commandstats").get("cmdstat_client|list", {"calls": 0})
        return int(found["calls"])

    ReapStore(connection, settings).reap()
    before = lists()
    ReapStore(connection, settings).reap()
    assert lists() == before
    reap(connection, ReapStore(connection, settings))
    assert lists() == before + 1


def test_a_queue_without_jobs_workers_and_history_is_forgotten_and_known_again(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    reaper = ReapStore(connection, settings)
    store.submit(new_job())
    strict = AttemptStore(connection, replace(settings, max_attempts=1), "w1")
    dead = claim(worker)
    assert strict.fail(dead, EngineError("the engine stumbled")) == "dead"
    worker.unregister([QUEUE])
    store.cancel(store.submit(new_job()).job.id)
    reap(connection, reaper)
    assert store.queues() == []
    store.redrive(dead.job_id)
    reap(connection, reaper)
    assert [queue.id for queue in store.queues()] == [QUEUE]


def test_the_history_of_an_idle_queue_ends_in_a_week(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    store.submit(new_job())
    assert finish(worker, claim(worker))
    reaper = ReapStore(connection, settings)
    reap(connection, reaper)
    assert connection.redis.pttl(keys.SERVICE(QUEUE)) == -1
    worker.unregister([QUEUE])
    reap(connection, reaper)
    assert 0 < connection.redis.pttl(keys.SERVICE(QUEUE)) <= 7 * 24 * 3600 * 1000
    assert [queue.id for queue in store.queues()] == [QUEUE]
    register(worker, settings)
    reap(connection, reaper)
    assert connection.redis.pttl(keys.SERVICE(QUEUE)) == -1


def test_a_fleet_is_not_counted_at_each_submit_and_a_slot_that_is_left_free_counts_at_once(
    store: JobStore, connection: Connection, settings: Settings
) -> None:
    def looks() -> int:
        return int(connection.redis.info("commandstats")["cmdstat_scard"]["calls"])

    one_slot = replace(settings, slots=1)
    fleet = [attempts(connection, one_slot, f"w{n}") for n in range(10)]
    for _ in fleet:
        store.submit(new_job())
    held = [claim(worker) for worker in fleet]
    connection.redis.delete(keys.CAPACITY(QUEUE))  # 0.1 s later
    submit(store, connection, 1)
    before = looks()
    submit(store, connection, 1)
    assert looks() == before
    assert hints(connection) == 1
    for worker, ran in zip(fleet, held, strict=True):
        worker.finish_and_claim(
            ran, {"text": "yes"}, {}, last=None, queues=[QUEUE], nonce=ran.job_id
        )
    submit(store, connection, 3)
    assert hints(connection) == 3


def test_so_many_jobs_share_a_run_that_its_end_is_not_long(
    connection: Connection, settings: Settings
) -> None:
    store = JobStore(connection, replace(settings, max_backlog=2000))
    made = store.submit_many([new_job(fingerprint="same") for _ in range(1003)])
    reasons = Counter(each.job.waiting_reason for each in made if isinstance(each, Submission))
    assert reasons[WaitingReason.SHARED_RUN] == 1000
