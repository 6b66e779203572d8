"""A record that was deleted by hand costs that job alone."""

from contract import keys
from contract.job import JobState
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from tests.support.attempts import claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import reap

NOBODY = "job_of_nobody"


def test_a_deadline_and_a_retry_without_a_record_do_not_stop_the_reaper(
    connection: Connection, store: JobStore, reaper: ReapStore
) -> None:
    late = store.submit(new_job(deadline_s=600.0)).job
    connection.redis.zadd(keys.DEADLINES(), {NOBODY: 1, late.id: 2})
    connection.redis.zadd(keys.RETRYING(QUEUE), {NOBODY: 1})
    reported = [(row.kind, row.parts) for row in reap(connection, reaper)]
    assert reported == [("orphan", (NOBODY,)), ("expired", (late.id,)), ("orphan", (NOBODY,))]
    assert not connection.redis.exists(keys.DEADLINES(), keys.RETRYING(QUEUE))


def test_a_waiting_job_without_a_record_does_not_stop_the_queue(
    connection: Connection, store: JobStore, worker: AttemptStore
) -> None:
    connection.redis.zadd(keys.PENDING(QUEUE), {NOBODY: 1, NOBODY + "_else": 2})
    connection.redis.zadd(keys.SUSPECTS(QUEUE), {NOBODY: 1})
    waits = store.submit(new_job()).job
    taken = claim(worker)
    assert taken.job_id == waits.id
    assert finish(worker, taken)
    left = (keys.JOB(NOBODY), keys.PENDING(QUEUE), keys.SUSPECTS(QUEUE))
    assert not connection.redis.exists(*left)


def test_a_follower_without_a_record_does_not_keep_its_leader_from_ending(
    connection: Connection, store: JobStore, worker: AttemptStore
) -> None:
    leader, lost, other = (store.submit(new_job(fingerprint="same")).job for _ in range(3))
    connection.redis.delete(keys.JOB(lost.id))
    store.cancel(leader.id)
    taken = claim(worker)
    assert taken.job_id == other.id
    last = store.submit(new_job(fingerprint="same")).job
    connection.redis.delete(keys.JOB(last.id))
    assert finish(worker, taken)
    assert store.get(other.id).state is JobState.COMPLETED
