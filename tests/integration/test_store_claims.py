"""Attempts in the store: claimed in order, and ended in every way there is."""

import uuid
from typing import Any

from contract import keys
from contract.errors import EngineError, PromptTooLongError
from contract.job import JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, Reaped, ReapStore
from tests.support.attempts import USAGE, attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import reap
from tests.support.waiting import eventually


def test_jobs_are_claimed_by_priority_then_in_order_of_submission(
    store: JobStore, worker: AttemptStore
) -> None:
    late, urgent, early = new_job(priority=9), new_job(priority=0), new_job(priority=0)
    for new in (late, urgent, early):
        store.submit(new)
    assert store.get(late.id).queue_position == 3
    assert [claim(worker).job_id for _ in range(3)] == [urgent.id, early.id, late.id]
    assert worker.claim([QUEUE], "n") is None


def test_a_worker_that_has_left_is_given_no_job_by_a_call_that_comes_late(
    store: JobStore, worker: AttemptStore
) -> None:
    job = store.submit(new_job()).job
    worker.unregister([QUEUE])
    assert worker.claim([QUEUE], "late") is None
    assert store.get(job.id).state is JobState.QUEUED


def test_an_attempt_of_another_worker_with_the_same_number_is_refused(
    store: JobStore, connection: Connection, settings: Settings, worker: AttemptStore
) -> None:
    job = store.submit(new_job()).job
    held = claim(worker)
    # What a failover does that forgot the claim: the job waits as before, and another takes it.
    connection.redis.hset(keys.JOB(job.id), mapping={"attempt": 0, "state": "queued"})
    connection.redis.zadd(keys.PENDING(QUEUE), {job.id: 1})
    connection.redis.srem(keys.RUNNING("w1"), job.id)
    other = attempts(connection, settings, "w2")
    again = claim(other)
    assert (again.job_id, again.attempt) == (held.job_id, held.attempt)
    beat: dict[str, Any] = {"state": "ready", "queues": [QUEUE], "held": [(job.id, held.attempt)]}
    assert worker.beat(**beat) == (True, {job.id})
    assert worker.publish([(job.id, held.attempt, "token", {"text": "a"}, 1)]) == {job.id}
    assert not worker.release(held)
    assert worker.fail(held, EngineError("it broke")) == "fenced"
    assert not finish(worker, held)
    assert not connection.redis.smembers(keys.RUNNING("w1"))
    assert finish(other, again)


def test_a_claim_repeated_with_its_nonce_returns_the_same_attempt(
    store: JobStore, worker: AttemptStore
) -> None:
    store.submit(new_job())
    store.submit(new_job())
    assert worker.claim([QUEUE], "nonce") == worker.claim([QUEUE], "nonce")


def test_a_finished_job_has_its_output_and_one_terminal_record(
    store: JobStore, worker: AttemptStore
) -> None:
    store.submit(new_job())
    claimed = claim(worker)
    assert finish(worker, claimed)
    assert finish(worker, claimed, "a repeated call changes nothing")
    job = store.get(claimed.job_id)
    assert job.state is JobState.COMPLETED
    assert job.output["text"] == "four words of text"
    assert job.usage == USAGE
    events = store.read_events({job.id: "0-0"})[job.id]
    assert [e.kind for e in events] == ["status", "status", "done"]


def test_a_released_job_waits_again_uncharged(store: JobStore, worker: AttemptStore) -> None:
    job = store.submit(new_job()).job
    assert worker.release(claim(worker))
    again = store.get(job.id)
    assert (again.state, again.failures, again.losses) == (JobState.QUEUED, 0, 0)
    assert claim(worker).attempt == 2


def test_a_retryable_error_is_tried_again_after_a_backoff_then_becomes_a_dead_letter(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore,
    settings: Settings,
) -> None:  # fmt: skip
    job = store.submit(new_job()).job
    for _ in range(settings.max_attempts - 1):
        assert worker.fail(claim(worker), EngineError("the engine stumbled")) == "retrying"
        assert store.get(job.id).waiting_reason is WaitingReason.RETRY_BACKOFF
        assert worker.claim([QUEUE], uuid.uuid4().hex) is None
        connection.redis.zadd(keys.RETRYING(QUEUE), {job.id: 1})
        assert Reaped(kind="retried", parts=(job.id,)) in reap(connection, reaper)
    assert worker.fail(claim(worker), EngineError("the engine stumbled")) == "dead"
    dead = store.get(job.id)
    assert dead.dead
    assert dead.error == {
        "code": "engine_error", "message": "the engine stumbled", "retryable": True,
    }  # fmt: skip


def test_an_error_that_no_retry_mends_fails_the_job_at_once(
    store: JobStore, worker: AttemptStore
) -> None:
    job = store.submit(new_job()).job
    assert worker.fail(claim(worker), PromptTooLongError("9 tokens, 8 fit")) == "failed"
    failed = store.get(job.id)
    assert (failed.state, failed.dead) == (JobState.FAILED, False)


def test_cancel_ends_a_queued_and_a_running_job_at_once_and_fences_the_worker(
    store: JobStore, worker: AttemptStore
) -> None:
    running, queued = store.submit(new_job()).job, store.submit(new_job()).job
    claimed = claim(worker)
    presence = worker.presence()
    eventually(lambda: presence.poll(0.05) is None)
    for job in (running, queued):
        cancelled, _ = store.cancel(job.id)
        assert cancelled.state is JobState.CANCELLED
    assert eventually(lambda: presence.poll(0.2)) == running.id
    assert not finish(worker, claimed)
    assert store.get(running.id).state is JobState.CANCELLED
    assert worker.claim([QUEUE], "n") is None
    assert store.cancel(running.id)[0].state is JobState.CANCELLED
    presence.close()


def test_a_job_past_its_deadline_expires_whether_it_waits_or_runs(
    store: JobStore, worker: AttemptStore, connection: Connection, reaper: ReapStore
) -> None:
    running = store.submit(new_job(deadline_s=0.01)).job
    claimed = claim(worker)
    waiting = store.submit(new_job(deadline_s=0.01)).job

    def both_expired() -> bool:
        reap(connection, reaper)
        return all(store.get(j.id).state is JobState.EXPIRED for j in (running, waiting))

    eventually(both_expired)
    assert not finish(worker, claimed)
    error = store.get(waiting.id).error
    assert error is not None
    assert error["code"] == "deadline_exceeded"
