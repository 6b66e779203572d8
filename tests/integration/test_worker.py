"""A real worker process on a real Valkey with a tiny real model."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.job import Job, JobState
from contract.queues import HintPublisher, queue_name
from contract.reaper import Reaper
from contract.settings import Settings
from contract.store import JobStore, ReapStore
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from tests.support.jobs import new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(120)
CHAT = {"messages": [{"role": "user", "content": "Tell me of the river."}]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_tiny_llama(store)
    write_tiny_bert(store)
    return store


class Rig:
    """A producer's hands, and as many workers as a test starts."""

    def __init__(self, redis: RedisServer, models: ModelStore, folder: Path) -> None:
        self.environment = {
            "MILLRACE_REDIS_URL": redis.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_MODEL": "tiny,tiny-embed",
            "MILLRACE_THREADS": "1",
            "MILLRACE_SLOTS": "4",
            "MILLRACE_LEASE_S": "2",
        }
        self.models = models
        self._folder = folder
        self.settings = Settings.from_mapping(self.environment)
        self.store = JobStore.connect(self.settings)
        self.hints = HintPublisher(self.settings)
        self.reaper = Reaper(ReapStore(self.store.connection, self.settings), self.hints)
        self.workers: list[WorkerProcess] = []

    def worker(self, **changes: str) -> WorkerProcess:
        process = WorkerProcess({**self.environment, **changes}, self._folder).start()
        self.workers.append(process)
        process.registered(self.store)
        return process

    def submit(self, model: str = "tiny", **changes: Any) -> Job:
        version: ModelVersion = self.models.resolve(model)
        queue = queue_name(version.name, version.digest)
        fields = {
            "input": CHAT, "queue": queue, "model": model, "digest": version.digest,
            "hint": self.hints.message(queue),
        }  # fmt: skip
        return self.store.submit(new_job(**{**fields, **changes})).job

    def finished(self, job: Job, timeout_s: float = 30) -> Job:
        eventually(lambda: self.store.get(job.id).finished, timeout_s)
        return self.store.get(job.id)


@pytest.fixture
def rig(redis_server: RedisServer, models: ModelStore, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(redis_server, models, tmp_path)
    yield rig
    for worker in rig.workers:
        worker.kill()


def long(**changes: Any) -> dict[str, Any]:
    """Parameters of a run that is still going when a test acts on it."""
    return {"parameters": {"max_tokens": 900, "temperature": 0}, **changes}


def test_a_job_is_answered_streamed_and_counted(rig: Rig) -> None:
    rig.worker()
    job = rig.finished(rig.submit(parameters={"max_tokens": 40, "temperature": 0}))
    assert job.state is JobState.COMPLETED, job.error
    assert job.usage is not None
    assert job.usage["completion_tokens"] == 40
    events = rig.store.read_events({job.id: "0-0"})[job.id]
    pieces = [e.data for e in events if e.kind == "token"]
    assert "".join(piece["text"] for piece in pieces) == job.output["text"]
    offset = 0
    for piece in pieces:
        assert piece["offset"] == offset
        offset += len(piece["text"])
    assert [e.kind for e in events][-1] == "done"


def test_a_worker_takes_jobs_only_when_its_engines_are_warm_and_known_to_be_right(
    rig: Rig,
) -> None:
    words = rig.worker(MILLRACE_SLOTS="0").log.read_text()
    places = [words.index(f"engine.{event}") for event in ("measured", "loaded")]
    assert places == sorted(places)
    assert words.rindex("engine.loaded") < words.index("worker.registered")
    slots = {model["model"]: model["slots"] for model in rig.store.workers()[0].models}
    assert slots["tiny"] >= 4
    assert slots["tiny-embed"] == 32


def test_more_jobs_than_slots_are_all_completed_and_the_same_prompt_has_one_answer(
    rig: Rig,
) -> None:
    rig.worker()
    jobs = [rig.submit(parameters={"max_tokens": 30, "temperature": 0}) for _ in range(20)]
    done = [rig.finished(job) for job in jobs]
    assert {job.state for job in done} == {JobState.COMPLETED}
    assert len({job.output["text"] for job in done}) == 1


def test_embeddings_are_served_beside_text_by_the_same_worker(rig: Rig) -> None:
    rig.worker()
    one = rig.submit("tiny-embed", task="embed", input={"texts": ["a river"], "many": False})
    texts = {"texts": ["a river", "a wheel"], "many": True}
    many = rig.submit("tiny-embed", task="embed", input=texts)
    single, pair = rig.finished(one), rig.finished(many)
    assert single.output["embedding"] == pytest.approx(pair.output["embeddings"][0], abs=1e-4)
    assert len(pair.output["embeddings"]) == 2


def test_a_sampled_job_repeats_its_tokens_on_another_attempt(rig: Rig) -> None:
    rig.worker()
    job = rig.submit(parameters={"max_tokens": 900, "temperature": 1.0})
    before = eventually(lambda: text_so_far(rig.store, job.id, 1))
    rig.workers[0].kill()
    rig.reaper.start()
    rig.worker()
    after = rig.finished(job)
    rig.reaper.stop()
    assert after.attempts == 2
    assert after.output["text"].startswith(before)


def text_so_far(store: JobStore, job_id: str, attempt: int) -> str:
    events = store.read_events({job_id: "0-0"})[job_id]
    return "".join(e.data["text"] for e in events if (e.kind, e.attempt) == ("token", attempt))


def test_a_cancelled_run_frees_its_slot_within_a_second(rig: Rig) -> None:
    worker = rig.worker(MILLRACE_SLOTS="1")
    job = rig.submit(**long())
    eventually(lambda: rig.store.get(job.id).progress)
    cancelled, _ = rig.store.cancel(job.id)
    assert cancelled.state is JobState.CANCELLED
    following = rig.finished(rig.submit(parameters={"max_tokens": 1, "temperature": 0}))
    assert following.started_ms is not None
    assert cancelled.finished_ms is not None
    assert following.started_ms - cancelled.finished_ms < 1000
    assert "job.fenced" in worker.log.read_text()
    assert rig.store.get(job.id).state is JobState.CANCELLED


def test_a_run_past_its_deadline_is_stopped_and_its_result_refused(rig: Rig) -> None:
    worker = rig.worker(MILLRACE_SLOTS="1")
    job = rig.submit(**long(deadline_s=0.3))
    eventually(lambda: rig.store.get(job.id).progress)
    worker.signal(signal.SIGSTOP)  # so that it cannot be done in time
    rig.reaper.start()
    assert rig.finished(job).state is JobState.EXPIRED
    rig.reaper.stop()
    worker.signal(signal.SIGCONT)
    eventually(lambda: "job.fenced" in worker.log.read_text())
    assert rig.store.get(job.id).state is JobState.EXPIRED


def test_a_draining_worker_finishes_what_fits_and_leaves_the_registry(rig: Rig) -> None:
    worker = rig.worker()
    jobs = [rig.submit(**long()) for _ in range(2)]
    eventually(lambda: all(rig.store.get(job.id).progress for job in jobs))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert [rig.store.get(job.id).state for job in jobs] == [JobState.COMPLETED] * 2
    assert rig.store.workers() == []


def test_a_draining_worker_gives_back_uncharged_what_does_not_fit(rig: Rig) -> None:
    worker = rig.worker(MILLRACE_DRAIN_S="0")
    job = rig.submit(**long())
    eventually(lambda: rig.store.get(job.id).progress)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    left = rig.store.get(job.id)
    assert (left.state, left.failures, left.losses) == (JobState.QUEUED, 0, 0)


def test_a_prompt_that_is_too_long_fails_once_with_the_counted_tokens(rig: Rig) -> None:
    rig.worker()
    job = rig.finished(rig.submit(input={"prompt": "river " * 2000}))
    assert (job.state, job.attempts, job.dead) == (JobState.FAILED, 1, False)
    assert job.error is not None
    assert job.error["code"] == "prompt_too_long"
    assert "1023" in job.error["message"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MILLRACE_MODEL": "nobody"}, "nobody"),
        ({"MILLRACE_DEVICE": "cuda"}, "CUDA"),
        ({"MILLRACE_SLOT": "3"}, "MILLRACE_SLOT "),
    ],
)
def test_a_worker_that_cannot_serve_says_why_and_does_not_start(
    rig: Rig, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    worker = WorkerProcess({**rig.environment, **change}, tmp_path).start()
    assert worker.wait() == 1
    last = worker.log.read_text().strip().splitlines()[-1]
    assert last.startswith("millrace worker: ")
    assert said in last


def test_a_worker_with_a_tampered_model_does_not_register(
    rig: Rig, tmp_path: Path, models: ModelStore
) -> None:
    other = ModelStore(tmp_path / "other")
    weights = write_tiny_llama(other).path / "model.onnx.data"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    change = {"MILLRACE_MODELS_DIR": str(other.root), "MILLRACE_MODEL": "tiny"}
    worker = WorkerProcess({**rig.environment, **change}, tmp_path).start()
    assert worker.wait() == 1
    assert "model.onnx.data" in worker.log.read_text()


def test_neither_prompts_nor_outputs_reach_logs_or_messages(rig: Rig) -> None:
    marked = {"prompt": "zanzibar marmalade"}
    watched = rig.store.connection.redis
    queue = rig.submit(input=marked).queue
    eventually(lambda: watched.llen(queue) == 1)
    assert "zanzibar" not in str(watched.lrange(queue, 0, -1))
    worker = rig.worker()
    job = rig.submit(input=marked)
    text = rig.finished(job).output["text"]
    log = worker.log.read_text()
    assert job.id in log
    assert "zanzibar" not in log
    assert text[:20] not in log


def test_a_crash_in_foreign_code_is_logged_by_its_place_and_not_its_words(rig: Rig) -> None:
    worker = rig.worker(MILLRACE_MAX_ATTEMPTS="1")
    job = rig.finished(rig.submit(parameters={"seed": "zanzibar"}))
    assert job.dead
    log = worker.log.read_text()
    assert "job.crashed" in log
    assert "executor.py:" in log
    assert "zanzibar" not in log
