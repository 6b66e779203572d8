"""Identical jobs share one run, and later ones its cached result."""

from dataclasses import replace

import pytest

from contract.errors import PromptTooLongError
from contract.job import JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, ClaimBlocked, Connection, JobStore, ReapStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import lose_worker


def test_identical_jobs_share_one_run_and_later_ones_its_cached_result(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    jobs = [store.submit(new_job(fingerprint="same", hint=f"job {n}")) for n in range(3)]
    assert jobs[1].job.waiting_reason is WaitingReason.SHARED_RUN
    assert finish(worker, claim(worker))
    assert worker.claim([QUEUE], "n") is None
    after = store.submit(new_job(fingerprint="same", hint="after"))
    assert connection.redis.lrange(QUEUE, 0, -1) == ["job 0"]
    done = [store.get(s.job.id) for s in [*jobs, after]]
    assert [job.state for job in done] == [JobState.COMPLETED] * 4
    assert [job.cached for job in done] == [False, True, True, True]
    assert len({job.output["text"] for job in done}) == 1
    counted = store.counters()
    assert (counted["cache_hits"], counted["shared_runs"]) == (1, 2)


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_a_leader_that_ends_without_a_result_hands_over_and_nothing_is_cached(
    end: str, store: JobStore, worker: AttemptStore
) -> None:
    leader, heir, other = (store.submit(new_job(fingerprint="same")).job for _ in range(3))
    claimed = claim(worker)
    if end == "cancel":
        assert store.cancel(leader.id)[1] == QUEUE
    else:
        worker.fail(claimed, PromptTooLongError("too long"))
    taken = claim(worker)
    assert taken.job_id == heir.id
    assert finish(worker, taken)
    assert store.get(other.id).state is JobState.COMPLETED
    assert store.get(leader.id).output is None


def test_the_cache_holds_no_more_than_its_limit(connection: Connection, settings: Settings) -> None:
    small = replace(settings, cache_max_entries=2)
    store, worker = JobStore(connection, small), attempts(connection, small)
    for n in range(3):
        store.submit(new_job(fingerprint=str(n)))
        assert finish(worker, claim(worker))
    cached = [store.submit(new_job(fingerprint=str(n))).job.cached for n in range(3)]
    assert cached == [False, True, True]


def test_identical_jobs_behind_a_poisoned_one_cost_one_more_worker_in_all(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    poison, *same = (store.submit(new_job(fingerprint="same")).job.id for _ in range(4))
    for n in range(4):
        assert claim(attempts(connection, settings, f"w{n}")).job_id == poison
        lose_worker(connection, reaper, f"w{n}")
    last = attempts(connection, settings, "w8")
    assert claim(last).job_id == same[0]
    with pytest.raises(ClaimBlocked):
        claim(last)
    lose_worker(connection, reaper, "w8")
    assert all(store.get(job).dead for job in same)
    assert attempts(connection, settings, "w9").claim([QUEUE], "n") is None


def test_an_identical_job_that_does_no_harm_after_all_answers_for_the_rest(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    poison, *same = (store.submit(new_job(fingerprint="same")).job.id for _ in range(3))
    for n in range(4):
        claim(attempts(connection, settings, f"w{n}"))
        lose_worker(connection, reaper, f"w{n}")
    worker = attempts(connection, settings, "w8")
    assert finish(worker, claim(worker))
    assert [store.get(job).state for job in same] == [JobState.COMPLETED] * 2
    assert store.get(poison).dead
