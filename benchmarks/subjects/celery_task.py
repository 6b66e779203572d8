"""A plain Celery task that calls the model: what is written when nothing like this is at hand."""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

from celery import Celery

from benchmarks.subjects.models import source_of, version_of
from benchmarks.subjects.server import Server
from benchmarks.subjects.subject import Bench, Reply
from benchmarks.workloads import Item
from model_store.importing.gguf_file import GgufFile
from model_store.importing.gguf_model import read_gguf
from model_store.tokenizer import CHAT_TEMPLATE_FILE
from tests.support.gqa_folder import write_gqa_folder
from tests.support.redis_server import RedisServer

_ANSWER_S = 600
_LOOK_S = 0.01


class CeleryTask:
    """A client that sends tasks; one thread of it looks for all results.

    Celery's own ``get`` is not made for 64 threads that wait on one application.
    """

    def __init__(self, server: Server, app: Celery, redis: RedisServer, about: str) -> None:
        self.about = about
        self._server = server
        self._app = app
        self._redis = redis.client()
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[Reply]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """See :class:`benchmarks.subjects.subject.Subject`; a task has no stream."""
        if stream:
            raise RuntimeError("a Celery task does not stream")
        messages = item.stored_input["messages"]
        answer: Future[Reply] = Future()
        with self._lock:
            sent = self._app.send_task("generate", args=[messages, item.max_tokens])
            self._waiting[sent.id] = answer
        return answer.result(_ANSWER_S)

    def processes(self) -> Sequence[int]:
        """The worker and its children."""
        return self._server.processes()

    def close(self) -> None:
        """Look for no more results."""
        self._closing.set()
        self._thread.join()
        self._redis.close()

    def _look(self) -> None:
        while not self._closing.wait(_LOOK_S):
            ids = list(self._waiting)
            keys = [f"celery-task-meta-{task_id}" for task_id in ids]
            for task_id, text in zip(ids, self._redis.mget(keys) if keys else (), strict=True):
                record = json.loads(text) if text else {}
                if record.get("status") == "SUCCESS":
                    self._waiting.pop(task_id).set_result(Reply(**record["result"]))
                elif record.get("status") == "FAILURE":
                    error = RuntimeError(f"the task failed: {record['result']}")
                    self._waiting.pop(task_id).set_exception(error)


@contextmanager
def open_celery_task(bench: Bench, form: str) -> Iterator[CeleryTask]:
    """A worker with a process for each core; each loads the model and answers one task at once.

    The model is a graph with an ordinary cache, as onnxruntime-genai's builder writes it.
    """
    if form != "fp32":
        raise ValueError(f"the Celery task runs fp32, not {form}")
    folder = bench.subfolder("celery")
    model = _plain_model(bench)
    processes = bench.threads or os.cpu_count() or 1
    redis = RedisServer(folder / "redis").start()
    environ = {"TASK_REDIS": redis.url, "TASK_MODEL": str(model), "TASK_THREADS": "1"}
    command = [
        sys.executable, "-m", "celery", "--app", "benchmarks.subjects.celery_app", "worker",
        "--concurrency", str(processes), "--loglevel", "WARNING",
    ]  # fmt: skip
    app = Celery("benchmark", broker=redis.url)
    server = Server(command, folder / "worker.log", environ)
    try:
        server.until(lambda: bool(app.control.inspect(timeout=1).ping()))
        about = f"a Celery task with a Redis result, {processes} processes of one thread, fp32"
        with closing(CeleryTask(server, app, redis, about)) as subject:
            yield subject
    finally:
        server.stop()
        app.close()
        redis.stop()


def _plain_model(bench: Bench) -> Path:
    """The weights as a graph that onnxruntime-genai's plain generator runs; made once."""
    version = version_of(bench.store, "fp32")
    folder = bench.peers / f"gqa-{version.digest[:12]}"
    done = folder / "done.json"
    if not done.exists():
        write_gqa_folder(read_gguf(GgufFile(source_of(bench.store))), version.path, folder)
        (folder / CHAT_TEMPLATE_FILE).write_bytes((version.path / CHAT_TEMPLATE_FILE).read_bytes())
        done.write_text(json.dumps({"from": version.digest}))
    return folder
