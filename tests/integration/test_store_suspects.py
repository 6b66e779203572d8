"""Jobs that may kill their workers: run apart, then alone, then no more."""

from dataclasses import replace

import pytest

from contract import keys
from contract.errors import NotDeadError
from contract.job import Claim, JobState
from contract.settings import Settings
from contract.store import (
    AttemptStore,
    ClaimBlocked,
    Connection,
    JobStore,
    Reaped,
    ReapStore,
)
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import lose_worker


@pytest.fixture
def reaper(connection: Connection, settings: Settings) -> ReapStore:
    """With the lease of the workers: half of it, while a new one is awaited, outlasts a test."""
    return ReapStore(connection, settings)


def test_few_suspects_share_a_batch_and_the_last_run_alone(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    settings = replace(settings, slots=8)  # at most two suspects together
    suspects = [store.submit(new_job()).job.id for _ in range(3)]
    first = attempts(connection, settings, "w1")
    for _ in suspects:
        claim(first)
    innocents = [store.submit(new_job()).job.id for _ in range(2)]
    lose_worker(connection, reaper, "w1")

    second = attempts(connection, settings, "w2")
    assert [claim(second).job_id for _ in range(4)] == [*suspects[:2], *innocents]
    with pytest.raises(ClaimBlocked):
        claim(second)
    third = attempts(connection, settings, "w3")
    assert claim(third).job_id == suspects[2]
    lose_worker(connection, reaper, "w2")

    assert claim(third).job_id == innocents[0]  # leaves the first, which must be alone, to others
    fourth = attempts(connection, settings, "w4")
    alone = claim(fourth)
    assert alone.job_id == suspects[0]
    with pytest.raises(ClaimBlocked):
        claim(fourth)
    assert finish(fourth, alone)
    assert claim(fourth).job_id == suspects[1]
    assert [store.get(job).losses for job in innocents] == [1, 1]


def test_a_job_that_lost_its_worker_starts_at_once_in_a_batch_that_runs(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    lost, kept = (attempts(connection, settings, name) for name in ("w1", "w2"))
    job = store.submit(new_job()).job.id
    claim(lost)
    store.submit(new_job())
    claim(kept)
    store.submit(new_job())
    lose_worker(connection, reaper, "w1")
    assert claim(kept).job_id == job


def test_one_busy_worker_at_a_time_drains_for_a_job_that_must_be_alone(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(5)]
    workers, held = _after_two_losses(connection, settings, reaper)
    _await_no_longer(connection)
    with pytest.raises(ClaimBlocked):
        claim(workers[0])  # makes room
    assert claim(workers[1]).job_id == jobs[3]  # goes on with plain jobs
    assert finish(workers[0], held[0])
    assert claim(workers[0]).job_id == jobs[0]


def test_a_worker_that_dies_while_it_makes_room_leaves_that_to_another(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    for _ in range(5):
        store.submit(new_job())
    workers, _ = _after_two_losses(connection, settings, reaper)
    _await_no_longer(connection)
    with pytest.raises(ClaimBlocked):
        claim(workers[0])
    lose_worker(connection, reaper, "w1")
    # What that one lost starts at once; the job that must be alone has the better rank.
    with pytest.raises(ClaimBlocked):
        claim(workers[1])


def test_a_job_that_must_be_alone_is_left_to_a_new_worker_while_one_is_awaited(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(6)]
    workers, _ = _after_two_losses(connection, settings, reaper)
    assert [claim(worker).job_id for worker in workers] == jobs[3:5]  # both go on
    assert claim(attempts(connection, settings, "new")).job_id == jobs[0]


def test_the_last_worker_serves_the_others_first_while_another_one_is_awaited(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    loner, *others = (store.submit(new_job()).job.id for _ in range(3))
    _lose_both(connection, settings, reaper)
    last = attempts(connection, settings, "w1")
    held = claim(last)
    assert held.job_id == others[0]
    _await_no_longer(connection)
    with pytest.raises(ClaimBlocked):
        claim(last)
    assert finish(last, held)
    assert claim(last).job_id == loner


def test_each_loss_of_a_job_that_must_be_alone_has_another_worker_awaited(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    loner = store.submit(new_job()).job.id
    _lose_both(connection, settings, reaper)
    connection.redis.pexpire(keys.ISOLATING(QUEUE), 3000)
    assert claim(attempts(connection, settings, "v3")).job_id == loner
    lose_worker(connection, reaper, "v3")
    assert connection.redis.pttl(keys.ISOLATING(QUEUE)) > 3000


def test_jobs_that_must_be_alone_leave_half_of_the_workers_to_others(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(4)]
    for name in ("v1", "v2"):
        lost = attempts(connection, settings, name)
        for _ in jobs:
            claim(lost)
        lose_worker(connection, reaper, name)
    plain = [store.submit(new_job()).job.id for _ in range(2)]
    workers = [attempts(connection, settings, f"w{n}") for n in range(4)]
    assert [claim(worker).job_id for worker in workers] == [*jobs[:2], *plain]


def test_the_more_workers_are_lost_otherwise_the_more_losses_alone_bury_a_job_up_to_six(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    job = store.submit(new_job()).job.id
    _lose_both(connection, settings, reaper)
    for n in range(6):
        assert store.get(job).state is JobState.QUEUED
        assert claim(attempts(connection, settings, f"alone{n}")).job_id == job
        other = store.submit(new_job()).job.id
        claim(attempts(connection, settings, f"other{n}"))
        lose_worker(connection, reaper, f"other{n}")
        store.cancel(other)
        lose_worker(connection, reaper, f"alone{n}")
    assert store.get(job).dead


def test_one_worker_that_was_lost_before_the_job_came_makes_it_four_losses_alone(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    attempts(connection, settings, "idle")
    lose_worker(connection, reaper, "idle")
    job = store.submit(new_job()).job.id
    for n in range(6):
        assert store.get(job).state is JobState.QUEUED
        claim(attempts(connection, settings, f"w{n}"))
        lose_worker(connection, reaper, f"w{n}")
    assert store.get(job).dead


def _lose_both(connection: Connection, settings: Settings, reaper: ReapStore) -> None:
    """Let two workers, one after the other, claim the best job and be lost with it."""
    for name in ("v1", "v2"):
        claim(attempts(connection, settings, name))
        lose_worker(connection, reaper, name)


def _await_no_longer(connection: Connection) -> None:
    """Let the half of a lease pass in which a new worker is awaited."""
    assert connection.redis.pttl(keys.ISOLATING(QUEUE)) > 0
    connection.redis.delete(keys.ISOLATING(QUEUE))


def _after_two_losses(
    connection: Connection, settings: Settings, reaper: ReapStore
) -> tuple[list[AttemptStore], list[Claim]]:
    """Two workers with the second and third job, after the first has cost two others."""
    _lose_both(connection, settings, reaper)
    loner = connection.redis.zrange(keys.SUSPECTS(QUEUE), 0, -1)
    connection.redis.delete(keys.SUSPECTS(QUEUE))  # so that the next ones are claimed first
    workers = [attempts(connection, settings, name) for name in ("w1", "w2")]
    held = [claim(worker) for worker in workers]
    connection.redis.zadd(keys.SUSPECTS(QUEUE), {str(loner[0]): 1})
    return workers, held


def test_a_job_that_kills_its_workers_is_dead_after_four_and_redrive_revives_it(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    poison = store.submit(new_job()).job
    for n in range(4):
        assert store.get(poison.id).state is JobState.QUEUED
        claim(attempts(connection, settings, f"w{n}"))
        report = lose_worker(connection, reaper, f"w{n}")
    assert Reaped(kind="lost", parts=(poison.id, "w3", "worker_disconnected", "dead")) in report
    assert Reaped(kind="dead", parts=(poison.id, "worker_disconnected")) in report
    dead = store.get(poison.id)
    assert (dead.state, dead.dead, dead.losses) == (JobState.FAILED, True, 4)
    assert dead.error is not None
    assert dead.error["code"] == "poisoned"
    assert "w3" in dead.error["message"]
    assert [job.id for job in store.dead_letters(limit=5, after=None).items] == [poison.id]
    again = store.redrive(poison.id)
    assert (again.state, again.dead, again.losses) == (JobState.QUEUED, False, 0)
    last = attempts(connection, settings, "w9")
    assert finish(last, claim(last))
    assert not store.dead_letters(limit=5, after=None).items
    with pytest.raises(NotDeadError):
        store.redrive(poison.id)
