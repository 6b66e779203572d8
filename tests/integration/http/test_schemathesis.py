"""Requests made from the OpenAPI document, right ones and wrong ones, find nothing."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.settings import Settings
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.support import schemathesis_hooks
from tests.support.fronts import FrontServer
from tests.support.hand_worker import HandWorker

#: One worker: two threads of Python 3.11 cannot parse source at once, and hypothesis does.
COMMAND = (
    str(Path(sys.executable).parent / "schemathesis"),
    "--config-file", str(Path(schemathesis_hooks.__file__).with_name("schemathesis.toml")),
    "run", "--no-color",
    "--mode", "all", "--checks", "all", "--max-examples", "25", "--workers", "1",
    "--request-timeout", "20", "--seed", "20", "--generation-database", "none",
)  # fmt: skip
HOOKS = {"SCHEMATHESIS_HOOKS": schemathesis_hooks.__name__, "PYTHONPATH": str(Path.cwd())}


@pytest.mark.timeout(180)
def test_generated_requests_find_nothing(
    server: FrontServer, settings: Settings, models: ModelStore, tmp_path: Path
) -> None:
    # With workers, jobs end, and /readyz is ready: its 503 would count as the server's failure.
    with working(settings, models.resolve("tiny")), working(settings, models.resolve("tiny-embed")):
        found = subprocess.run(
            [*COMMAND, f"{server.url}/openapi.json"],
            cwd=tmp_path,
            env={**os.environ, **HOOKS},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )

    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert " generated, " in found.stdout


@contextmanager
def working(settings: Settings, version: ModelVersion) -> Iterator[None]:
    """A worker of ``version`` that completes what comes, for the length of a block."""
    stop = threading.Event()
    with HandWorker(settings, version) as worker:
        thread = threading.Thread(target=worker.serve, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
