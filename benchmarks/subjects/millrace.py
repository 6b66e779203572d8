"""The whole of Millrace on ports of its own: HTTP, Redis, Celery, the engine."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.subjects.models import device_of, version_of
from benchmarks.subjects.server import Server
from benchmarks.subjects.subject import Bench, Reply
from benchmarks.subjects.wire import Wire
from benchmarks.workloads import Item
from tests.support.redis_server import free_port

_JOBS = "/api/v1/jobs"
_WORKERS = "/api/v1/workers"
_WAIT_S = 60


class Millrace:
    """A client of ``millrace up``."""

    def __init__(self, server: Server, wire: Wire, model: str, about: str) -> None:
        self.about = about
        self._server = server
        self._wire = wire
        self._model = model

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """See :class:`benchmarks.subjects.subject.Subject`."""
        [content] = item.stored_input.values()
        body = {
            "model": self._model,
            "input": content,
            "parameters": item.parameters,
            "cache": item.cache,
        }
        return self._stream(body) if stream else self._wait(body)

    def processes(self) -> Sequence[int]:
        """The supervisor, Valkey, the front and the worker."""
        return self._server.processes()

    def _wait(self, body: dict[str, Any]) -> Reply:
        job = self._wire.post(_JOBS, body, {"Prefer": f"wait={_WAIT_S}"})
        while job["status"] in ("queued", "in_progress"):
            job = self._wire.get(f"{_JOBS}/{job['id']}?wait={_WAIT_S}")
        if job["status"] != "completed":
            raise RuntimeError(f"job {job['id']} is {job['status']}: {job['error']}")
        text = job["output"].get("text", "")
        return Reply(tokens=job["usage"]["completion_tokens"], text=text)

    def _stream(self, body: dict[str, Any]) -> Reply:
        job_id = self._wire.post(_JOBS, body)["id"]
        pieces, texts, status = [], [], ""
        for when_s, name, data in self._wire.events("GET", f"{_JOBS}/{job_id}/events"):
            if name == "token":
                pieces.append((when_s, int(data["completion_tokens"])))
                texts.append(data["text"])
            elif name == "done":
                status = data["status"]
        if status != "completed":
            raise RuntimeError(f"job {job_id} is {status or 'cut off'}")
        tokens = pieces[-1][1] if pieces else 0
        return Reply(tokens=tokens, text="".join(texts), pieces=tuple(pieces))


@contextmanager
def open_millrace(bench: Bench, form: str) -> Iterator[Millrace]:
    """``millrace up`` with one worker, set up as it comes."""
    version = version_of(bench.store, form)
    folder = bench.subfolder(f"millrace-{form}")
    port = free_port()
    environ = {
        "MILLRACE_DATA_DIR": str(folder),
        "MILLRACE_MODELS_DIR": str(bench.store.root.resolve()),
        "MILLRACE_MODEL": version.ref,
        "MILLRACE_DEVICE": device_of(form),
        "MILLRACE_PORT": str(port),
        "MILLRACE_REDIS_PORT": str(free_port()),
        "MILLRACE_SLOTS": str(bench.slots),
        "MILLRACE_THREADS": str(bench.threads),
    }
    command = [sys.executable, "-m", "millrace", "up", "--no-flower"]
    server = Server(command, folder / "up.log", environ)
    try:
        wire = Wire(port)
        server.until(lambda: wire.answers("/readyz") and bool(wire.get(_WORKERS)["data"]))
        [worker] = wire.get(_WORKERS)["data"]
        about = f"millrace up with one worker of {worker['slots']} slots, {version.ref}"
        yield Millrace(server, wire, version.ref, about)
    finally:
        server.stop()
