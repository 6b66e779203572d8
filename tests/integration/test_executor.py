"""The executor on a real store, with engines and connections that fail."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from contract.errors import StoreUnavailableError
from contract.job import Claim, JobState
from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import AttemptStore, Connection, Finished, JobStore
from tests.support.attempts import register
from tests.support.jobs import QUEUE, new_job
from workers.engine import GenerationRequest, GenerationResult, Run
from workers.engine.engine_thread import EngineThread
from workers.executor import Executor, Served
from workers.leases import LeaseKeeper
from workers.publisher import TokenPublisher

SLOTS = 4
Does = Literal["answers", "breaks", "goes on"]


class Simple:
    """A stepper that answers at once, breaks, or goes on until its runs are cancelled."""

    def __init__(self, does: Does, priorities: list[int]) -> None:
        self._does = does
        self._priorities = priorities
        self._runs: list[Run[GenerationRequest, GenerationResult]] = []

    @property
    def busy(self) -> bool:
        return bool(self._runs)

    @property
    def running(self) -> int:
        return len(self._runs)

    def add(self, run: Run[GenerationRequest, GenerationResult]) -> None:
        self._runs.append(run)
        self._priorities.append(run.priority)

    def step(self) -> None:
        if self._does == "breaks":
            raise RuntimeError("the device is lost")
        if self._does == "goes on":
            for run in [run for run in self._runs if run.cancelled]:
                run.drop()
                self._runs.remove(run)
            return
        while self._runs:
            result = GenerationResult(
                text="yes", finish_reason="stop", prompt_tokens=1, completion_tokens=1
            )
            self._runs.pop().complete(result)

    def close(self) -> None:
        self._runs.clear()


class Engine(EngineThread[GenerationRequest, GenerationResult]):
    """The real engine thread around such a stepper."""

    def __init__(self, does: Does) -> None:
        self.priorities: list[int] = []
        """Of the runs that it was given."""
        super().__init__("engine", lambda: Simple(does, self.priorities), slots=SLOTS)

    def prompt(
        self, stored_input: Mapping[str, Any], parameters: Mapping[str, Any], *, seed: Any = None
    ) -> GenerationRequest:
        return GenerationRequest(prompt_tokens=[1], max_tokens=1)


class Unsure(AttemptStore):
    """Loses the answer to its first claim, after Redis has made it."""

    lost = 0

    def claim(self, queues: Sequence[str], nonce: str) -> Claim | None:
        made = super().claim(queues, nonce)
        if not self.lost:
            self.lost += 1
            raise StoreUnavailableError("the answer was lost")
        return made


class Rig:
    """A worker's parts, put together as its composition root does, without its threads."""

    def __init__(self, store: AttemptStore, settings: Settings, does: Does) -> None:
        register(store, settings)
        self.engine = Engine(does)
        served = {QUEUE: Served(queue=QUEUE, engine=self.engine, slots=SLOTS)}
        leases = LeaseKeeper(store, queues=[QUEUE], lease_s=10, register=lambda: None)
        publisher = TokenPublisher(store, on_lost=leases.lose)
        self.executor = Executor(served, store, leases, publisher, HintPublisher(settings))

    def run_all(self, hints: int) -> None:
        """Take hints on as many threads as there are slots."""

        def take() -> None:
            for _ in range(hints // SLOTS):
                self.executor.run_next(QUEUE)

        threads = [threading.Thread(target=take) for _ in range(SLOTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    opened: list[Engine] = []
    yield opened
    for engine in opened:
        engine.close()


def test_a_process_whose_engine_broke_claims_no_more_jobs_to_take_down_with_it(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    store = JobStore(connection, settings)
    jobs = [store.submit(new_job()).job.id for _ in range(40)]
    rig = Rig(AttemptStore(connection, settings, "w1"), settings, "breaks")
    engines.append(rig.engine)
    rig.run_all(hints=40)
    claimed = [job for job in jobs if store.get(job).attempts]
    assert 1 <= len(claimed) <= SLOTS


def test_the_engine_is_told_how_urgent_a_job_is(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    store = JobStore(connection, settings)
    for priority in (9, 0):
        store.submit(new_job(priority=priority))
    rig = Rig(AttemptStore(connection, settings, "w1"), settings, "answers")
    engines.append(rig.engine)
    for _ in range(2):
        rig.executor.run_next(QUEUE)
    assert rig.engine.priorities == [0, 9]


def test_a_claim_whose_answer_was_lost_is_found_again_and_run(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    store = JobStore(connection, settings)
    job = store.submit(new_job()).job
    rig = Rig(Unsure(connection, settings, "w1"), settings, "answers")
    engines.append(rig.engine)
    rig.executor.run_next(QUEUE)
    done = store.get(job.id)
    assert (done.state, done.attempts, done.losses) == (JobState.COMPLETED, 1, 0)


def test_what_is_claimed_when_the_grace_time_is_over_is_given_back(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    class Late(AttemptStore):
        """The grace time ends between its claim and the lease."""

        def claim(self, queues: Sequence[str], nonce: str) -> Claim | None:
            made = super().claim(queues, nonce)
            others = threading.enumerate()
            rig.executor.drain(0)
            for thread in set(threading.enumerate()).difference(others):
                thread.join()
            return made

    store = JobStore(connection, settings)
    job = store.submit(new_job()).job
    rig = Rig(Late(connection, settings, "w1"), settings, "goes on")
    engines.append(rig.engine)
    rig.executor.run_next(QUEUE)
    left = store.get(job.id)
    assert (left.state, left.attempts, left.losses) == (JobState.QUEUED, 1, 0)


def test_a_result_that_must_wait_for_redis_says_so_once(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    class Full(AttemptStore):
        """Refuses results for a while."""

        refusals = 0

        def finish_and_claim(self, *arguments: Any, **more: Any) -> Finished:
            if self.refusals < 3:
                self.refusals += 1
                raise StoreUnavailableError("no memory")
            return super().finish_and_claim(*arguments, **more)

    store = JobStore(connection, settings)
    job = store.submit(new_job()).job
    full = Full(connection, settings, "w1")
    rig = Rig(full, settings, "answers")
    engines.append(rig.engine)
    with capture_logs() as said:
        rig.executor.run_next(QUEUE)
    assert full.refusals == 3
    assert store.get(job.id).state is JobState.COMPLETED
    delayed = [line for line in said if line["event"] == "write.delayed"]
    assert [(line["job"], line["error"]) for line in delayed] == [(job.id, "no memory")]


def test_a_slot_that_ends_a_job_takes_the_next_without_a_hint(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    store = JobStore(connection, settings)
    jobs = [store.submit(new_job()).job.id for _ in range(10)]
    rig = Rig(AttemptStore(connection, settings, "w1"), settings, "answers")
    engines.append(rig.engine)
    calls = script_calls(connection)
    rig.executor.run_next(QUEUE)
    # One to claim the first, and one for the end of each with the claim of the next.
    assert script_calls(connection) - calls == 1 + len(jobs)
    assert {store.get(job).state for job in jobs} == {JobState.COMPLETED}
    assert connection.redis.llen(QUEUE) == 0


def script_calls(connection: Connection) -> int:
    """How often scripts were called since the server began."""
    return int(connection.redis.info("commandstats")["cmdstat_evalsha"]["calls"])


def test_an_end_whose_answer_was_lost_is_written_once_and_brings_one_next_job(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    class Forgetful(AttemptStore):
        """Loses the answer to each first try."""

        tries = 0

        def finish_and_claim(self, *arguments: Any, **more: Any) -> Finished:
            made = super().finish_and_claim(*arguments, **more)
            self.tries += 1
            if self.tries % 2:
                raise StoreUnavailableError("the answer was lost")
            return made

    store = JobStore(connection, settings)
    jobs = [store.submit(new_job()).job.id for _ in range(3)]
    rig = Rig(Forgetful(connection, settings, "w1"), settings, "answers")
    engines.append(rig.engine)
    rig.executor.run_next(QUEUE)
    done = [store.get(job) for job in jobs]
    assert [(job.state, job.attempts) for job in done] == [(JobState.COMPLETED, 1)] * 3
    assert store.counters()["jobs_completed"] == 3


def test_a_slot_takes_no_next_job_when_the_worker_drains(
    connection: Connection, settings: Settings, engines: list[Engine]
) -> None:
    class Told(AttemptStore):
        """Is told to stop while the first job ends."""

        def finish_and_claim(self, *arguments: Any, **more: Any) -> Finished:
            rig.executor.drain(60)
            return super().finish_and_claim(*arguments, **more)

    store = JobStore(connection, settings)
    jobs = [store.submit(new_job()).job.id for _ in range(3)]
    rig = Rig(Told(connection, settings, "w1"), settings, "answers")
    engines.append(rig.engine)
    rig.executor.run_next(QUEUE)
    # The call that was under way may bring one job more, which is run.
    states = [store.get(job).state for job in jobs]
    assert states == [JobState.COMPLETED, JobState.COMPLETED, JobState.QUEUED]
