"""A real worker process whose Redis says nothing, refuses, or waits for the worker."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract import keys
from contract.job import Job, JobState
from contract.queues import HintPublisher, queue_name
from contract.settings import Settings
from contract.store import JobStore, ReapStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.jobs import new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(120)
LEASE_S = 2.0
TOKEN_S = 0.05


class Rig:
    """A Redis of the test's own, and one worker whose engine takes its time for each token."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        models = ModelStore(folder / "models")
        self.version = write_tiny_llama(models)
        environment = {
            "MILLRACE_REDIS_URL": redis.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_MODEL": "tiny",
            "MILLRACE_SLOTS": "2",
            "MILLRACE_LEASE_S": str(LEASE_S),
            "MILLRACE_STALL_S": "1",
            "MILLRACE_DRAIN_S": "1",
            "LAB_TOKEN_S": str(TOKEN_S),
            "LAB_POISON": "1",
        }
        self.redis = redis
        settings = {k: v for k, v in environment.items() if k.startswith("MILLRACE_")}
        self.settings = Settings.from_mapping(settings)
        self.store = JobStore.connect(self.settings)
        self.worker = WorkerProcess(
            environment, folder / "log", module="tests.support.lab_worker"
        ).start()
        self.worker.registered(self.store)

    def submit(self, tokens: int, prompt: str = "go on") -> str:
        """A job of so many tokens."""
        queue = queue_name("tiny", self.version.digest)
        parameters = {"max_tokens": tokens, "temperature": 0}
        asked = {"queue": queue, "digest": self.version.digest, "input": {"prompt": prompt}}
        job = self.store.submit(new_job(**asked, parameters=parameters)).job
        HintPublisher(self.settings).publish(queue)
        return job.id

    def running(self, tokens: int) -> str:
        """A job of so many tokens that has begun."""
        job = self.submit(tokens)
        eventually(lambda: self.store.get(job).progress)
        return job

    def causes(self, job_id: str) -> list[Any]:
        """Why the job was queued again, each time."""
        events = self.store.read_events({job_id: "0-0"})[job_id]
        return [event.data["cause"] for event in events if "cause" in event.data]

    def finished(self, job_id: str) -> Job:
        eventually(lambda: self.store.get(job_id).finished, timeout_s=30)
        return self.store.get(job_id)

    def logged(self, event: str) -> bool:
        return event in self.worker.log.read_text()


@pytest.fixture
def rig(own_redis: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(own_redis, tmp_path)
    yield rig
    os.kill(own_redis.pid, signal.SIGCONT)
    rig.worker.kill()


def test_a_run_is_stopped_within_a_lease_of_silence_and_comes_back_uncharged(rig: Rig) -> None:
    job = rig.running(tokens=120)
    os.kill(rig.redis.pid, signal.SIGSTOP)
    silent_since_s = time.monotonic()
    eventually(lambda: rig.logged("job.given_up"), timeout_s=2 * LEASE_S)
    assert time.monotonic() - silent_since_s < LEASE_S + 0.3
    os.kill(rig.redis.pid, signal.SIGCONT)
    eventually(lambda: rig.causes(job) == ["released"], timeout_s=10)
    done = rig.finished(job)
    assert (done.state, done.attempts, done.losses) == (JobState.COMPLETED, 2, 0)
    assert rig.worker.alive


def test_a_result_that_is_there_before_the_lease_ends_outlasts_any_silence(rig: Rig) -> None:
    job = rig.running(tokens=15)
    os.kill(rig.redis.pid, signal.SIGSTOP)
    eventually(lambda: rig.logged("heartbeat.failed"), timeout_s=15)
    os.kill(rig.redis.pid, signal.SIGCONT)
    done = rig.finished(job)
    assert (done.state, done.attempts, done.losses) == (JobState.COMPLETED, 1, 0)
    assert not rig.logged("job.given_up")


def test_a_redis_that_is_gone_stops_no_run_and_gets_the_result_when_it_is_back(rig: Rig) -> None:
    job = rig.running(tokens=60)
    rig.redis.kill()
    time.sleep(2 * LEASE_S)  # what is tested is that this time passes
    rig.redis.start()
    done = rig.finished(job)
    assert (done.state, done.attempts, done.losses) == (JobState.COMPLETED, 1, 0)
    assert not rig.logged("job.given_up")


def test_a_worker_that_stood_still_itself_blames_neither_redis_nor_its_engine(rig: Rig) -> None:
    eventually(lambda: rig.store.connection.redis.exists(keys.REAPED()))  # the gap can be seen
    job = rig.running(tokens=60)
    rig.worker.signal(signal.SIGSTOP)
    time.sleep(2 * LEASE_S)  # nobody else reaps here, so the job is still this worker's own
    rig.worker.signal(signal.SIGCONT)
    done = rig.finished(job)
    assert (done.state, done.attempts, done.losses) == (JobState.COMPLETED, 1, 0)
    assert rig.worker.alive
    assert rig.logged("worker.stood_still")
    assert not rig.logged("job.given_up")


def test_a_worker_told_to_stop_while_redis_is_silent_goes_within_its_grace(rig: Rig) -> None:
    job = rig.running(tokens=400)
    os.kill(rig.redis.pid, signal.SIGSTOP)
    eventually(lambda: rig.logged("job.given_up"), timeout_s=2 * LEASE_S)
    rig.worker.signal(signal.SIGTERM)
    eventually(lambda: rig.logged("worker.draining"))
    os.kill(rig.redis.pid, signal.SIGCONT)
    assert rig.worker.wait(timeout_s=30) == 0
    left = rig.store.get(job)
    assert (left.state, left.losses, left.started_ms) == (JobState.QUEUED, 0, None)


def test_a_worker_whose_engine_hangs_says_so_and_goes(rig: Rig) -> None:
    job = rig.running(tokens=60)
    hung = rig.submit(tokens=60, prompt="poison-hang")
    assert rig.worker.wait(timeout_s=20) == 70
    reaper = ReapStore(rig.store.connection, rig.settings)
    eventually(lambda: reaper.reap() is not None and rig.causes(job) and rig.causes(hung))
    assert rig.causes(job) == rig.causes(hung) == ["engine_stalled"]
