"""The generation engine's own life: ticks, failures, and its end."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contract.errors import EngineError, EngineFailedError
from model_store.manifest import ModelVersion
from tests.support.generation import TIMEOUT_S, ask, open_tiny
from tests.support.waiting import eventually
from workers.engine import GenerationRequest
from workers.engine.generation import GenerationEngine


@pytest.fixture
def own_engine(tiny: ModelVersion) -> Iterator[GenerationEngine]:
    """An engine that the test may break."""
    engine = open_tiny(tiny)
    yield engine
    engine.close()


def test_an_idle_engine_ticks(engine: GenerationEngine) -> None:
    before = engine.last_tick_s
    eventually(lambda: engine.last_tick_s > before, timeout_s=2.0)
    assert time.monotonic() - engine.last_tick_s < 1.0


def test_a_hung_step_stops_the_ticking(own_engine: GenerationEngine) -> None:
    let_go = threading.Event()

    def hang(_: str, tokens: int) -> None:
        let_go.wait()

    run = own_engine.submit(ask(own_engine, "hang", max_tokens=5), hang)
    try:
        eventually(lambda: time.monotonic() - own_engine.last_tick_s > 1.0)
    finally:
        let_go.set()
    assert run.result(TIMEOUT_S).completion_tokens == 5
    eventually(lambda: time.monotonic() - own_engine.last_tick_s < 0.5)


def test_a_fatal_error_fails_every_run_and_is_visible(own_engine: GenerationEngine) -> None:
    # A token outside of the vocabulary breaks the graph in the middle of a batch.
    poison = GenerationRequest(prompt_tokens=[10**6], max_tokens=5)
    with capture_logs() as logs:
        running = own_engine.submit(ask(own_engine, "neighbour", max_tokens=900))
        eventually(lambda: own_engine.running == 1)
        broken = own_engine.submit(poison)
        for run in (running, broken):
            with pytest.raises(EngineFailedError, match="out of data bounds"):
                run.result(TIMEOUT_S)
    assert own_engine.failure is not None
    assert [entry["event"] for entry in logs] == ["engine.failed"]
    late = own_engine.submit(ask(own_engine, "late", max_tokens=5))
    with pytest.raises(EngineFailedError):
        late.result(TIMEOUT_S)


def test_close_fails_what_is_unfinished_and_what_comes_later(
    own_engine: GenerationEngine,
) -> None:
    run = own_engine.submit(ask(own_engine, "unfinished", max_tokens=950))
    own_engine.close()
    own_engine.close()
    late = own_engine.submit(ask(own_engine, "late", max_tokens=5))
    for each in (run, late):
        with pytest.raises(EngineError, match="closed"):
            each.result(TIMEOUT_S)
    assert own_engine.failure is None


def test_a_process_that_ends_in_the_middle_of_a_step_exits_cleanly(tiny: ModelVersion) -> None:
    script = f"""
import time
from pathlib import Path
from model_store.store import ModelStore
from workers.engine import GenerationRequest, open_engine
tiny = ModelStore(Path({str(tiny.path.parent.parent)!r})).resolve("tiny")
engine = open_engine(tiny, slots=8, threads=1, device="cpu")
request = GenerationRequest(prompt_tokens=[5, 6, 7], max_tokens=1000)
runs = [engine.submit(request) for _ in range(8)]
while not engine.running:
    time.sleep(0.001)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
