"""A full backlog: what refused clients are told, and that it comes true."""

import heapq
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from contract import keys
from contract.errors import QueueFullError
from contract.job import Claim, NewJob
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

LIMIT = 4


@pytest.fixture
def store(connection: Connection, settings: Settings) -> JobStore:
    return JobStore(connection, replace(settings, max_backlog=LIMIT))


@pytest.fixture
def worker(connection: Connection, settings: Settings) -> AttemptStore:
    return attempts(connection, settings)


def fill(store: JobStore, worker: AttemptStore) -> None:
    """A full backlog, and one job done: at one in a few seconds the rate is known."""
    for _ in range(LIMIT):
        store.submit(new_job())
    assert finish(worker, claim(worker))
    store.submit(new_job())


def keyed(name: str) -> NewJob:
    return new_job(idempotency_key=name, body_sha256=name)


def told_s(store: JobStore, job: NewJob) -> int:
    with pytest.raises(QueueFullError) as refused:
        store.submit(job)
    return refused.value.retry_after_s


def make_due(connection: Connection, *, late_ms: int = 0) -> None:
    """Move every turn to now, or to some time ago."""
    seconds, micros = connection.redis.time()
    due = int(seconds) * 1000 + int(micros) // 1000 - 1 - late_ms
    for turn in connection.redis.zrange(keys.TURNS(QUEUE), 0, -1):
        connection.redis.zadd(keys.TURNS(QUEUE), {str(turn): due})


def test_each_refused_request_is_told_a_later_time_and_a_repeat_the_same_one(
    store: JobStore, worker: AttemptStore
) -> None:
    fill(store, worker)
    times = [told_s(store, keyed(f"k{n}")) for n in range(10)]
    assert times == sorted(times)
    assert times[-1] > times[0]
    assert told_s(store, keyed("k9")) <= times[-1]
    assert told_s(store, keyed("late")) >= times[-1]


def test_no_promise_is_later_than_two_minutes(store: JobStore, worker: AttemptStore) -> None:
    fill(store, worker)
    assert max(told_s(store, new_job()) for _ in range(300)) == 120


@pytest.mark.parametrize("with_key", [True, False])
def test_who_comes_back_when_told_finds_room_and_a_newcomer_does_not_take_it(
    with_key: bool, store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    fill(store, worker)
    patient = keyed("patient") if with_key else new_job(body_sha256="patient")
    told_s(store, patient)
    make_due(connection)
    assert finish(worker, claim(worker))
    told_s(store, keyed("newcomer"))
    again = replace(patient, id=new_job().id)
    assert store.submit(again).job.id == again.id
    told_s(store, keyed("newcomer"))


def test_a_place_that_nobody_comes_for_goes_to_the_next(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    fill(store, worker)
    told_s(store, keyed("gone for good"))
    make_due(connection, late_ms=2500)
    assert finish(worker, claim(worker))
    assert not store.submit(keyed("newcomer")).replayed
    assert float(str(connection.redis.hget(keys.SERVICE(QUEUE), "shows"))) < 1
    assert connection.redis.exists(keys.TURNS(QUEUE), keys.TURN_HOLDERS(QUEUE)) == 0


def test_requests_with_one_body_hold_as_many_turns(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    fill(store, worker)
    for _ in range(3):
        told_s(store, new_job())
    assert connection.redis.zcard(keys.TURNS(QUEUE)) == 3
    make_due(connection)
    for left in (2, 1, 0):
        assert finish(worker, claim(worker))
        store.submit(new_job())
        assert connection.redis.zcard(keys.TURNS(QUEUE)) == left
    assert connection.redis.exists(keys.TURN_HOLDERS(QUEUE)) == 0


def test_a_refusal_writes_nothing_to_the_disk(
    connection: Connection, store: JobStore, worker: AttemptStore
) -> None:
    fill(store, worker)
    written = connection.redis.info("persistence")["aof_current_size"]
    assert told_s(store, keyed("k1")) <= told_s(store, keyed("k2"))
    assert connection.redis.zcard(keys.TURNS(QUEUE)) == 2
    assert connection.redis.info("persistence")["aof_current_size"] == written
    make_due(connection)
    claim(worker)
    assert not store.submit(keyed("k1")).replayed
    assert connection.redis.info("persistence")["aof_current_size"] > written


def test_turns_that_a_restart_forgot_are_given_anew(own_redis: RedisServer) -> None:
    environ = {"MILLRACE_REDIS_URL": own_redis.url, "MILLRACE_MAX_BACKLOG": str(LIMIT)}
    settings = Settings.from_mapping(environ)
    store, worker = JobStore.connect(settings), attempts(Connection(own_redis.url), settings)
    fill(store, worker)
    told_s(store, keyed("k1"))
    own_redis.kill()
    own_redis.start()
    assert own_redis.client().zcard(keys.TURNS(QUEUE)) == 0
    told_s(store, keyed("k1"))
    for _ in range(LIMIT):
        claim(worker)
    assert not store.submit(keyed("k1")).replayed


def test_turns_leave_nothing_behind(
    store: JobStore, worker: AttemptStore, connection: Connection
) -> None:
    fill(store, worker)
    told_s(store, keyed("k"))
    for name in (keys.TURNS(QUEUE), keys.TURN_HOLDERS(QUEUE)):
        assert 0 < connection.redis.pttl(name) <= 122_000


def test_submits_and_cancels_without_a_worker_grow_no_list_of_hints(
    store: JobStore, connection: Connection
) -> None:
    for _ in range(50):
        store.cancel(store.submit(new_job(hint="a hint")).job.id)
    assert connection.redis.llen(QUEUE) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What closed-loop clients were told, in seconds, and when they were then accepted."""

    told_and_waited: list[tuple[int, float]]

    def ratios(self) -> list[float]:
        """Told over waited, in order; a wait within the second that was told counts as it."""
        return sorted(told / max(waited, told - 1, 0.01) for told, waited in self.told_and_waited)


SLOTS, RATE, PLACES, CLIENTS, LENGTH_S = 4, 20, 40, 400, 14.0


@pytest.fixture
def served(connection: Connection, settings: Settings) -> Iterator[None]:
    """A worker that runs SLOTS jobs at a time and RATE in a second."""
    stopped = threading.Event()
    worker = attempts(Connection(settings.redis_url), replace(settings, slots=SLOTS))

    def serve() -> None:
        held: deque[tuple[float, Claim]] = deque()
        beat_s = 0.0
        while not stopped.wait(0.01):
            while held and held[0][0] <= time.monotonic():
                due_s, done = held.popleft()
                finish(worker, done)
                found = worker.claim([QUEUE], uuid.uuid4().hex)
                if found is not None:
                    held.append((due_s + SLOTS / RATE, found))
            while len(held) < SLOTS:
                found = worker.claim([QUEUE], uuid.uuid4().hex)
                if found is None:
                    break
                held.append((time.monotonic() + SLOTS / RATE, found))
            if time.monotonic() > beat_s:
                beat_s = time.monotonic() + 0.5
                running = [(each.job_id, each.attempt) for _, each in held]
                worker.beat(state="ready", queues=[QUEUE], held=running)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    stopped.set()
    thread.join()


def crowd(store: JobStore, one_shot_every: int) -> Crowd:
    """CLIENTS requests at a time, each sent again when told; some never come back."""
    began_s = time.monotonic()
    due = [(n / CLIENTS, n, f"request {n}") for n in range(CLIENTS)]
    count, first = CLIENTS, dict[str, tuple[int, float]]()
    waited: list[tuple[int, float]] = []
    while due:
        at_s, _, name = heapq.heappop(due)
        now_s = time.monotonic() - began_s
        if now_s > LENGTH_S:
            break
        time.sleep(max(at_s - now_s, 0))
        now_s = time.monotonic() - began_s
        count += 1
        try:
            store.submit(replace(keyed(name), id=new_job().id))
        except QueueFullError as refused:
            first.setdefault(name, (refused.retry_after_s, now_s))
            if one_shot_every and count % one_shot_every == 0:
                heapq.heappush(due, (now_s + 1, count, f"request {count}"))
            else:
                heapq.heappush(due, (now_s + refused.retry_after_s, count, name))
        else:
            if name in first:
                told, since_s = first[name]
                waited.append((told, now_s - since_s))
            # As in a closed loop: the next request comes when this one has been served.
            heapq.heappush(due, (now_s + PLACES / RATE, count, f"request {count}"))
    return Crowd(told_and_waited=waited)


@pytest.mark.parametrize("one_shot_every", [0, 2], ids=["all return", "half never return"])
def test_ten_times_the_load_is_told_the_truth_within_a_factor_of_two(
    one_shot_every: int, served: None, store: JobStore, connection: Connection, settings: Settings
) -> None:
    wide = JobStore(connection, replace(settings, max_backlog=PLACES))
    known = wide.submit(new_job()).job.id
    eventually(lambda: wide.get(known).finished)  # else nobody knows yet how long a job takes
    crowded = crowd(wide, one_shot_every)
    ratios = crowded.ratios()
    p10, p50, p90 = (ratios[int(len(ratios) * share)] for share in (0.1, 0.5, 0.9))
    print(f"told/waited p10 {p10:.2f}, p50 {p50:.2f}, p90 {p90:.2f} over {len(ratios)}")
    assert len(ratios) > LENGTH_S * RATE / 10
    assert p10 >= 0.5
    assert p90 <= 2
