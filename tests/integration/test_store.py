"""The store's scripts against a real server: each claim of the state machine."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from contract import keys
from contract.errors import (
    EngineError,
    IdempotencyConflictError,
    JobGoneError,
    NotDeadError,
    NoWorkerError,
    PromptTooLongError,
    QueueFullError,
    StoreUnavailableError,
    UnknownJobError,
)
from contract.job import Claim, JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, ClaimBlocked, Connection, JobStore, Reaped, ReapStore
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cached_tokens": 0}


@pytest.fixture
def store(connection: Connection, settings: Settings) -> JobStore:
    return JobStore(connection, settings)


@pytest.fixture
def reaper(connection: Connection, settings: Settings) -> ReapStore:
    return ReapStore(connection, replace(settings, lease_s=0.5, result_ttl_s=60))


def attempts(connection: Connection, settings: Settings, name: str = "w1") -> AttemptStore:
    store = AttemptStore(connection, settings, name)
    store.register(
        queues={QUEUE: {"model": "tiny", "version": 1, "digest": "0123456789abcdef"}},
        host="here", pid=1, device="cpu", models=[], slots=settings.slots, state="ready",
    )  # fmt: skip
    return store


@pytest.fixture
def worker(connection: Connection, settings: Settings) -> AttemptStore:
    return attempts(connection, settings)


def claim(worker: AttemptStore) -> Claim:
    found = worker.claim([QUEUE], uuid.uuid4().hex)
    assert found is not None
    return found


def finish(worker: AttemptStore, claimed: Claim, text: str = "four words of text") -> bool:
    return worker.finish(claimed, {"text": text, "finish_reason": "stop"}, USAGE)


def lose_worker(connection: Connection, reaper: ReapStore, worker: str) -> list[Reaped]:
    """What REAP does once it has missed the worker's connection twice and its beats for 0.75 s."""
    long_ago = now_ms(connection) - 1000
    connection.redis.zadd(keys.WORKERS(), {worker: long_ago})
    connection.redis.hset(keys.MISSING(), worker, str(long_ago))
    return reap(connection, reaper)


def now_ms(connection: Connection) -> int:
    seconds, micros = connection.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def reap(connection: Connection, reaper: ReapStore) -> list[Reaped]:
    connection.redis.delete(keys.REAPED())
    return reaper.reap()


def test_a_submitted_job_waits_and_says_why(store: JobStore) -> None:
    submission = store.submit(new_job())
    assert submission.wants_hint
    assert submission.job.state is JobState.QUEUED
    assert submission.job.queue_position == 1
    assert submission.job.waiting_reason is WaitingReason.NO_WORKER
    assert submission.job.eta_s is None


def test_a_repeated_submit_call_records_one_job(store: JobStore) -> None:
    new = new_job()
    assert store.submit(new).job.id == store.submit(new).job.id
    assert len(store.list_jobs(state=None, model=None, limit=10, after=None).items) == 1


def test_jobs_are_claimed_by_priority_then_in_order_of_submission(
    store: JobStore, worker: AttemptStore
) -> None:
    late, urgent, early = new_job(priority=9), new_job(priority=0), new_job(priority=0)
    for new in (late, urgent, early):
        store.submit(new)
    assert store.get(late.id).queue_position == 3
    assert [claim(worker).job_id for _ in range(3)] == [urgent.id, early.id, late.id]
    assert worker.claim([QUEUE], "n") is None


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
    assert Reaped(kind="hints", parts=(QUEUE, 2)) in report
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
        lambda: Reaped(kind="worker", parts=("w1",)) in lose_worker(connection, reaper, "w1")
    )


def test_suspects_share_no_batch_with_innocents_and_the_last_run_alone(
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
    assert {claim(second).job_id, claim(second).job_id} == set(suspects[:2])
    with pytest.raises(ClaimBlocked):
        claim(second)
    third = attempts(connection, settings, "w3")
    assert claim(third).job_id == suspects[2]
    with pytest.raises(ClaimBlocked):
        claim(third)  # innocents wait, but a suspect runs here
    lose_worker(connection, reaper, "w2")

    fourth = attempts(connection, settings, "w4")
    alone = claim(fourth)
    assert alone.job_id == suspects[0]
    with pytest.raises(ClaimBlocked):
        claim(fourth)
    assert finish(fourth, alone)
    assert claim(fourth).job_id == suspects[1]
    assert all(store.get(job).losses == 0 for job in innocents)


def test_one_busy_worker_at_a_time_drains_for_suspects(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    workers = [attempts(connection, settings, name) for name in ("w1", "w2", "w3")]
    jobs = [store.submit(new_job()).job.id for _ in range(5)]
    held = [claim(worker) for worker in workers]
    lose_worker(connection, reaper, "w1")
    with pytest.raises(ClaimBlocked):
        claim(workers[1])  # makes room
    assert claim(workers[2]).job_id == jobs[3]  # goes on with plain jobs
    assert finish(workers[1], held[1])
    assert claim(workers[1]).job_id == jobs[0]


def test_a_worker_that_dies_while_it_makes_room_leaves_that_to_another(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    workers = [attempts(connection, settings, name) for name in ("w1", "w2", "w3")]
    for _ in range(5):
        store.submit(new_job())
    for worker in workers:
        claim(worker)
    lose_worker(connection, reaper, "w1")
    with pytest.raises(ClaimBlocked):
        claim(workers[1])
    lose_worker(connection, reaper, "w2")
    with pytest.raises(ClaimBlocked):
        claim(workers[2])


def test_a_job_that_kills_its_workers_is_dead_after_four_and_redrive_revives_it(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    poison = store.submit(new_job()).job
    for n in range(4):
        assert store.get(poison.id).state is JobState.QUEUED
        claim(attempts(connection, settings, f"w{n}"))
        report = lose_worker(connection, reaper, f"w{n}")
    assert Reaped(kind="lost", parts=(poison.id, "w3", "worker_disconnected", "dead")) in report
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


def test_an_identical_job_behind_a_poisoned_one_costs_one_more_worker_at_most(
    store: JobStore, connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    poison = store.submit(new_job(fingerprint="same")).job
    follower = store.submit(new_job(fingerprint="same")).job
    for n in range(4):
        assert claim(attempts(connection, settings, f"w{n}")).job_id == poison.id
        lose_worker(connection, reaper, f"w{n}")
    assert claim(attempts(connection, settings, "w8")).job_id == follower.id
    lose_worker(connection, reaper, "w8")
    assert store.get(follower.id).dead


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


def test_the_same_key_replays_and_another_body_conflicts(store: JobStore) -> None:
    first = store.submit(new_job(idempotency_key="k", body_sha256="a"))
    again = store.submit(new_job(idempotency_key="k", body_sha256="a"))
    assert (again.job.id, again.replayed, again.wants_hint) == (first.job.id, True, False)
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


def test_identical_jobs_share_one_run_and_later_ones_its_cached_result(
    store: JobStore, worker: AttemptStore
) -> None:
    jobs = [store.submit(new_job(fingerprint="same")) for _ in range(3)]
    assert [s.wants_hint for s in jobs] == [True, False, False]
    assert jobs[1].job.waiting_reason is WaitingReason.SHARED_RUN
    assert finish(worker, claim(worker))
    assert worker.claim([QUEUE], "n") is None
    after = store.submit(new_job(fingerprint="same"))
    assert not after.wants_hint
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


def test_a_released_job_waits_again_uncharged(store: JobStore, worker: AttemptStore) -> None:
    job = store.submit(new_job()).job
    assert worker.release(claim(worker))
    again = store.get(job.id)
    assert (again.state, again.failures, again.losses) == (JobState.QUEUED, 0, 0)
    assert claim(worker).attempt == 2


def test_a_record_past_its_retention_is_gone_and_an_unknown_one_unknown(
    connection: Connection, settings: Settings, reaper: ReapStore
) -> None:
    store = JobStore(connection, replace(settings, result_ttl_s=0.01))
    job = store.submit(new_job()).job
    connection.run("cancel", job.id, 1)
    eventually(lambda: _is_gone(store, job.id))
    reap(connection, reaper)
    assert _is_gone(store, job.id)
    assert connection.redis.exists(keys.JOB(job.id), keys.EVENTS(job.id)) == 0
    with pytest.raises(UnknownJobError):
        store.get("job_nobody")


def _is_gone(store: JobStore, job_id: str) -> bool:
    try:
        store.get(job_id)
    except JobGoneError:
        return True
    return False


def test_lists_are_newest_first_filtered_and_paged(store: JobStore, worker: AttemptStore) -> None:
    jobs = [store.submit(new_job()).job.id for _ in range(5)]
    finish(worker, claim(worker))
    page = store.list_jobs(state=JobState.QUEUED, model="tiny", limit=3, after=None)
    assert ([job.id for job in page.items], page.has_more) == (jobs[:1:-1], True)
    rest = store.list_jobs(state=JobState.QUEUED, model="tiny", limit=3, after=jobs[2])
    assert ([job.id for job in rest.items], rest.has_more) == ([jobs[1]], False)
    assert not store.list_jobs(state=None, model="other", limit=3, after=None).items
    with pytest.raises(UnknownJobError):
        store.list_jobs(state=None, model=None, limit=3, after="job_nobody")


def test_position_and_eta_come_from_measured_rates(
    store: JobStore, connection: Connection, settings: Settings
) -> None:
    worker = attempts(connection, replace(settings, slots=1))
    store.submit(new_job())
    assert store.get(claim_and_finish(worker)).state is JobState.COMPLETED
    running, next_up = store.submit(new_job()).job, store.submit(new_job()).job
    claim(worker)
    waiting = store.get(next_up.id)
    assert (waiting.queue_position, waiting.waiting_reason) == (1, WaitingReason.NO_CAPACITY)
    assert waiting.eta_s is not None
    assert 0 < waiting.eta_s < 60
    assert store.get(running.id).eta_s is not None


def claim_and_finish(worker: AttemptStore) -> str:
    claimed = claim(worker)
    assert finish(worker, claimed)
    return claimed.job_id


def test_workers_and_queues_are_listed_with_what_they_do(
    store: JobStore, worker: AttemptStore
) -> None:
    store.submit(new_job())
    store.submit(new_job())
    claim(worker)
    [row] = store.workers()
    assert (row.id, row.host, row.device, row.running, row.state) == (
        "w1", "here", "cpu", 1, "ready",
    )  # fmt: skip
    [queue] = store.queues()
    assert (queue.id, queue.pending, queue.running, queue.workers) == (QUEUE, 1, 1, 1)
    worker.unregister([QUEUE])
    assert store.workers() == []


def test_missing_hints_are_noticed_at_the_second_look(
    store: JobStore, connection: Connection, reaper: ReapStore
) -> None:
    store.submit(new_job())
    assert reap(connection, reaper) == []
    assert reap(connection, reaper) == [Reaped(kind="hints", parts=(QUEUE, 1))]
    connection.redis.lpush(QUEUE, "a hint")
    assert reap(connection, reaper) == []


def test_a_wake_up_names_the_job_whose_stream_grew(store: JobStore, worker: AttemptStore) -> None:
    wakes = store.subscribe()
    assert eventually(lambda: wakes.wait(0.1) is None)
    job = store.submit(new_job()).job
    assert eventually(lambda: job.id in (wakes.wait(0.1) or ()))
    claimed = claim(worker)
    eventually(lambda: job.id in (wakes.wait(0.1) or ()))
    worker.publish([(job.id, claimed.attempt, "token", {"text": "hi", "offset": 0}, 1)])
    assert eventually(lambda: job.id in (wakes.wait(0.1) or ()))
    assert store.get(job.id).progress == 1
    wakes.close()


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
