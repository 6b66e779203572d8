"""Jobs whose worker is lost: who notices, when, and what a late worker may write."""

from dataclasses import replace

from contract import keys
from contract.errors import EngineError
from contract.job import JobState
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, Reaped, ReapStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import lose_worker, now_ms, reap
from tests.support.waiting import eventually


def test_a_stale_attempt_can_write_nothing(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore,
    settings: Settings,
) -> None:  # fmt: skip
    store.submit(new_job())
    stale = claim(worker)
    lose_worker(connection, reaper, "w1")
    fresh = claim(attempts(connection, settings, "w2"))
    assert fresh.job_id == stale.job_id
    assert not finish(worker, stale)
    assert worker.fail(stale, EngineError("late")) == "fenced"
    assert not worker.release(stale)
    assert worker.publish([(stale.job_id, stale.attempt, "token", {"text": "x"}, 1)]) == {
        stale.job_id
    }
    assert worker.beat(state="ready", queues=[QUEUE], held=[(stale.job_id, stale.attempt)]) == (
        False,
        {stale.job_id},
    )
    job = store.get(fresh.job_id)
    assert (job.state, job.worker, job.progress) == (JobState.IN_PROGRESS, "w2", None)
    assert all(e.kind != "token" for e in store.read_events({job.id: "0-0"})[job.id])


def test_a_lost_job_comes_back_at_its_own_rank(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore,
    settings: Settings,
) -> None:  # fmt: skip
    first, second = store.submit(new_job()).job, store.submit(new_job()).job
    assert claim(worker).job_id == first.id
    report = lose_worker(connection, reaper, "w1")
    assert Reaped(kind="lost", parts=(first.id, "w1", "worker_disconnected", "queued")) in report
    # Nobody is there to take them; a worker that comes asks for more.
    assert Reaped(kind="hints", parts=(QUEUE, 1)) in report
    assert store.get(first.id).queue_position == 1
    assert store.get(second.id).queue_position == 2
    assert claim(attempts(connection, settings, "w2")).job_id == first.id


def test_after_an_absence_of_redis_only_a_worker_that_came_back_can_be_missed(
    store: JobStore, worker: AttemptStore, connection: Connection, settings: Settings
) -> None:
    store.submit(new_job())
    lost = claim(worker)
    wary = ReapStore(connection, settings)
    wary.note_failure()
    assert lose_worker(connection, wary, "w1") == []
    eventually(lambda: worker.beat(state="ready", queues=[QUEUE], held=[])[0])
    connection.redis.hset(keys.MISSING(), "w1", "1")

    def missed() -> bool:
        return any(row.parts[0] == lost.job_id for row in reap(connection, wary))

    eventually(missed, timeout_s=3)


def test_an_expired_lease_gives_the_job_to_another_and_is_spared_after_a_failure_of_redis(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    worker = attempts(connection, replace(settings, lease_s=0.05))
    presence = worker.presence()
    eventually(lambda: presence.poll(0.05) is None)
    store.submit(new_job())
    lost = claim(worker)
    spared = ReapStore(connection, replace(settings, lease_s=0.5))
    spared.note_failure()
    eventually(lambda: connection.redis.zcount(keys.LEASES(), 0, now_ms(connection)) == 1)
    connection.redis.zadd(keys.WORKERS(), {"w1": now_ms(connection) - 1000})  # it beats no more
    assert reap(connection, spared) == []
    loss = Reaped(kind="lost", parts=(lost.job_id, "w1", "lease_expired", "queued"))
    assert loss in reap(connection, reaper)
    presence.close()


def test_a_worker_with_a_named_connection_is_not_lost(
    connection: Connection, reaper: ReapStore, worker: AttemptStore
) -> None:
    presence = worker.presence()
    eventually(lambda: presence.poll(0.05) is None)
    assert lose_worker(connection, reaper, "w1") == []
    presence.close()
    eventually(
        lambda: (
            Reaped(kind="worker", parts=("w1", "worker_disconnected"))
            in lose_worker(connection, reaper, "w1")
        )
    )


def test_missing_hints_are_noticed_at_the_second_look(
    store: JobStore, connection: Connection, reaper: ReapStore
) -> None:
    store.submit(new_job())
    assert reap(connection, reaper) == []
    assert reap(connection, reaper) == [Reaped(kind="hints", parts=(QUEUE, 1))]
    connection.redis.lpush(QUEUE, "a hint")
    assert reap(connection, reaper) == []
