"""A front, with workers, in which everything exists that the official client's tests name.

Its tests ask for `file_id`, `batch_id` and a response again and again, also after having deleted
them, and for models of OpenAI's. So the models are tiny ones under those names, and before each
request what it names is made if it is not there. All else is the product's own application.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from contract.batch import NewBatch
from contract.job import NewJob
from contract.queues import queue_name
from contract.settings import Settings
from contract.store import BatchStore, FileStore, ResponseStore
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from producer.openai.response_answers import job_id_of
from producer.openai.response_requests import ResponseRequest
from producer.storage import FileStorage
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.redis_server import RedisServer

GENERATORS = ("gpt-6-astra", "gpt-3.5-turbo-instruct")
EMBEDDER = "text-embedding-3-small"
_NAMED = re.compile(
    r"/v1/(files|batches|responses)/(file_id|batch_id|response_id|resp_677efb5139a88190b512bc3fef8e535d)"
    r"(?:/|$)"
)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Seeds:
    """Makes what a request names, if it is not there."""

    def __init__(self, front: LocalFront) -> None:
        connection, settings = front.store.connection, front.settings
        self._app: Wsgi = front.app
        self._front = front
        self._models = ModelStore(settings.models_dir)
        self._files = FileStore(connection)
        self._batches = BatchStore(connection, lease_s=10)
        self._responses = ResponseStore(connection, ttl_s=3600)
        self._storage = FileStorage(settings.files_url)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        make = {"files": self._file, "batches": self._batch, "responses": self._response}
        named = _NAMED.match(environ["PATH_INFO"])
        if named:
            make[named[1]](named[2])
        else:
            self._file("input_file_id")
        return self._app(environ, start)

    def _file(self, name: str) -> None:
        with self._storage.write(f"files/{name}") as stream:
            stream.write(b"{}\n")
        self._files.put(name, name="in.jsonl", purpose="batch", size=3, ttl_s=None)

    def _batch(self, name: str) -> None:
        new = NewBatch(
            id=name, endpoint="/v1/responses", input_file="input_file_id", window="24h",
            window_s=86_400, body_sha256="",
        )  # fmt: skip
        self._batches.create(new)

    def _response(self, name: str) -> None:
        asked = ResponseRequest(model=GENERATORS[0], input="string", background=True).asked([])
        self._responses.put(name, asked)
        version = self._models.resolve(GENERATORS[0])
        new = NewJob(
            id=job_id_of(name), queue=queue_name(version.name, version.digest),
            model=version.name, model_version=version.version, digest=version.digest,
            task="generate", input={"prompt": "string"}, parameters={}, body_sha256="", hint="",
        )  # fmt: skip
        self._front.store.submit(new)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a seeded front, for the length of a block."""
    models = ModelStore(folder / "models")
    versions = [*(write_tiny_llama(models, name) for name in GENERATORS)]
    versions.append(write_tiny_bert(models, EMBEDDER))
    redis = RedisServer(folder / "redis").start()
    settings = Settings.from_mapping(
        {
            "MILLRACE_REDIS_URL": redis.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_FILES_URL": str(folder / "files"),
        }
    )
    front = LocalFront(settings)
    server = make_server("127.0.0.1", 0, Seeds(front), threaded=True)
    stop = threading.Event()
    with ExitStack() as stack:
        threads = [threading.Thread(target=server.serve_forever, daemon=True)]
        for version in versions:
            worker = stack.enter_context(HandWorker(settings, version, slots=16))
            threads.append(threading.Thread(target=worker.serve, args=(stop,), daemon=True))
        for each in threads:
            each.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            stop.set()
            server.shutdown()
            for each in threads:
                each.join(timeout=10)
    front.close()
    redis.kill()
