"""What the store shows of jobs, workers and queues."""

from dataclasses import replace

import pytest

from contract import keys
from contract.errors import JobGoneError, UnknownJobError
from contract.job import JobState, WaitingReason
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import reap
from tests.support.waiting import eventually


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


def test_a_worker_of_two_models_is_full_for_each_by_itself(
    store: JobStore, connection: Connection, settings: Settings
) -> None:
    queues = ("a.000000000000", "b.000000000000")
    about = {"model": "m", "version": 1, "digest": "0" * 64}
    worker = AttemptStore(connection, settings, "w1")
    worker.register(
        queues=dict.fromkeys(queues, about), host="here", pid=1, device="cpu", slots=3,
        models=[{"queue": queues[0], "slots": 1}, {"queue": queues[1], "slots": 2}],
        state="ready",
    )  # fmt: skip
    store.submit(new_job(queue=queues[0]))
    assert worker.claim([queues[0]], "n") is not None
    full, free = (store.submit(new_job(queue=queue)).job for queue in queues)
    assert full.waiting_reason is WaitingReason.NO_CAPACITY
    assert free.waiting_reason is None
    assert {queue.id: queue.slots for queue in store.queues()} == {queues[0]: 1, queues[1]: 2}


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


def test_a_wake_up_names_the_job_whose_stream_grew(store: JobStore, worker: AttemptStore) -> None:
    wakes = store.subscribe()
    assert eventually(lambda: wakes.wait(0.1) is None)
    job = store.submit(new_job()).job
    claimed = claim(worker)
    assert eventually(lambda: job.id in (wakes.wait(0.1) or ()))
    worker.publish([(job.id, claimed.attempt, "token", {"text": "hi", "offset": 0}, 1)])
    assert eventually(lambda: job.id in (wakes.wait(0.1) or ()))
    assert store.get(job.id).progress == 1
    wakes.close()
