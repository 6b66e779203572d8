"""A worker that is told to stop goes, whatever Redis does."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.queues import HintPublisher, queue_name
from contract.settings import Settings
from contract.store import JobStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.jobs import new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(120)
CHAT = {"messages": [{"role": "user", "content": "Tell me of the river."}]}


class Rig:
    """One worker with a tiny model, on a Redis that the test may kill."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        models = ModelStore(folder / "models")
        self.version = write_tiny_llama(models)
        environment = {
            "MILLRACE_REDIS_URL": redis.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_MODEL": "tiny",
            "MILLRACE_THREADS": "1",
            "MILLRACE_SLOTS": "2",
            "MILLRACE_LEASE_S": "2",
            "MILLRACE_DRAIN_S": "3",
        }
        self.redis = redis
        self.settings = Settings.from_mapping(environment)
        self.store = JobStore.connect(self.settings)
        self.worker = WorkerProcess(environment, folder / "log").start()
        self.worker.registered(self.store)

    def submit(self, max_tokens: int) -> str:
        queue = queue_name("tiny", self.version.digest)
        parameters = {"max_tokens": max_tokens, "temperature": 0}
        new = new_job(queue=queue, digest=self.version.digest, input=CHAT, parameters=parameters)
        self.store.submit(new)
        HintPublisher(self.settings).publish(queue)
        return new.id


@pytest.fixture
def rig(own_redis: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(own_redis, tmp_path)
    yield rig
    rig.worker.kill()


def test_a_run_that_ends_while_redis_is_away_does_not_hold_up_the_shutdown(rig: Rig) -> None:
    job = rig.submit(max_tokens=300)
    eventually(lambda: rig.store.get(job).progress)
    rig.redis.kill()
    rig.worker.signal(signal.SIGTERM)
    assert rig.worker.wait(timeout_s=40) == 0


def test_a_second_signal_changes_nothing_and_an_idle_worker_goes_without_redis(rig: Rig) -> None:
    rig.redis.kill()
    rig.worker.signal(signal.SIGTERM)
    eventually(lambda: "worker.draining" in rig.worker.log.read_text())
    rig.worker.signal(signal.SIGTERM)
    assert rig.worker.wait(timeout_s=40) == 0


def test_a_redis_that_returns_within_the_grace_time_still_gets_the_result(rig: Rig) -> None:
    job = rig.submit(max_tokens=300)
    eventually(lambda: rig.store.get(job).progress)
    rig.redis.kill()
    rig.worker.signal(signal.SIGTERM)
    eventually(lambda: "worker.draining" in rig.worker.log.read_text())
    rig.redis.start()
    assert rig.worker.wait(timeout_s=40) == 0
    assert rig.store.get(job).state == "completed", rig.worker.log.read_text()[-3000:]
