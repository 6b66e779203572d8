"""The watch over real engine threads and a real store: who is unfit, and what Redis hears of it."""

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from contract.errors import EngineFailedError
from contract.store import AttemptStore, Connection, JobStore, Reaped, ReapStore
from tests.support.attempts import claim
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import reap
from workers.engine import GenerationRequest, GenerationResult, Run
from workers.engine.engine_thread import EngineThread
from workers.health import EXIT_UNFIT, Unfit, unfit_engine
from workers.leases import LeaseKeeper
from workers.watch import Watch

TinyRun = Run[GenerationRequest, GenerationResult]


class Acting:
    """A stepper whose step is given."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self.running = 0

    @property
    def busy(self) -> bool:
        return self.running > 0

    def add(self, run: TinyRun) -> None:
        self.running += 1

    def step(self) -> None:
        self._act()

    def close(self) -> None:
        self.running = 0


class Engine(EngineThread[GenerationRequest, GenerationResult]):
    """The real engine thread around such a stepper."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__("engine", lambda: Acting(act), slots=1)

    def prompt(
        self, stored_input: Mapping[str, Any], parameters: Mapping[str, Any], *, seed: Any = None
    ) -> GenerationRequest:
        return GenerationRequest(prompt_tokens=[1], max_tokens=1)


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def fail() -> None:
    raise RuntimeError("the device is lost")


def hang(let_go: threading.Event) -> None:
    let_go.wait()


@pytest.mark.parametrize("cause", ["engine_failed", "engine_stalled"])
def test_the_jobs_of_an_unfit_engine_are_lost_with_that_cause(
    cause: str, store: JobStore, worker: AttemptStore, connection: Connection,
    reaper: ReapStore, let_go: threading.Event,
) -> None:  # fmt: skip
    store.submit(new_job())
    held = claim(worker)
    engine = Engine(fail if cause == "engine_failed" else lambda: hang(let_go))
    found: list[Unfit] = []
    heard = threading.Event()

    def say(unfit: Unfit) -> None:
        found.append(unfit)
        worker.abandon(unfit.cause)
        heard.set()

    leases = LeaseKeeper(worker, queues=[QUEUE], lease_s=10, register=lambda: None)
    watch = Watch(leases, [engine], stall_s=1, on_unfit=say)
    watch.start()
    try:
        engine.submit(GenerationRequest(prompt_tokens=[1], max_tokens=1))
        assert heard.wait(5)
    finally:
        watch.stop()
        let_go.set()
        engine.close()
    assert [unfit.cause for unfit in found] == [cause]
    lost = Reaped(kind="lost", parts=(held.job_id, "w1", cause, "queued"))
    assert lost in reap(connection, reaper)


def test_a_step_that_failed_keeps_nothing_of_what_it_had_in_hand() -> None:
    kept: list[weakref.ref[Any]] = []

    def hoard() -> None:
        memory = np.zeros(1000)
        kept.append(weakref.ref(memory))
        raise MemoryError

    engine = Engine(hoard)
    try:
        run = engine.submit(GenerationRequest(prompt_tokens=[1], max_tokens=1))
        with pytest.raises(EngineFailedError):
            run.result(5)
        assert [memory() for memory in kept] == [None]
    finally:
        engine.close()


def test_a_process_that_must_go_goes_though_it_cannot_say_why() -> None:
    script = """
from workers.health import abandon_process
class Speechless(Exception): pass
class Reason:
    def __str__(self): raise Speechless
    __repr__ = __str__
abandon_process(Reason())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    assert done.returncode == EXIT_UNFIT


def test_a_process_ends_with_any_thread_that_dies_of_an_error() -> None:
    script = """
import threading, time
from contract.threads import when_a_thread_dies
from workers.health import abandon_process
when_a_thread_dies(abandon_process)
threading.Thread(target=lambda: 1 / 0, name="heartbeat").start()
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=50)
    assert done.returncode == EXIT_UNFIT
    assert b"the thread heartbeat died of ZeroDivisionError" in done.stdout


def test_an_engine_that_stood_still_with_its_process_did_not_hang() -> None:
    engine = Engine(fail)
    try:
        later_s = engine.last_tick_s + 100
        asked = {"stall_s": 20, "now_s": later_s}
        assert unfit_engine([engine], **asked, awake_since_s=later_s - 1) is None
        unfit = unfit_engine([engine], **asked, awake_since_s=later_s - 21)
        assert unfit is not None
        assert unfit.cause == "engine_stalled"
    finally:
        engine.close()


def test_a_lease_is_given_up_when_its_time_has_passed_and_no_other_is(
    store: JobStore, worker: AttemptStore
) -> None:
    leases = LeaseKeeper(worker, queues=[QUEUE], lease_s=2, register=lambda: None)
    for _ in range(3):
        store.submit(new_job())
    with leases.hold(claim(worker)) as old, leases.hold(claim(worker)) as done:
        finished: TinyRun = Run(GenerationRequest(prompt_tokens=[1], max_tokens=1))
        done.attach(finished)
        finished.drop()
        since_s = time.monotonic()
        with leases.hold(claim(worker)) as young:
            young.confirmed_s = since_s + 1
            leases.give_up_unconfirmed(since_s + 1)
            assert not old.given_up
            leases.give_up_unconfirmed(since_s + 2)
            assert (old.given_up, young.given_up, done.given_up) == (True, False, False)
