"""The audit finds nothing in a store that only its scripts have changed, and names all damage."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from contract import keys
from contract.batch import NewBatch
from contract.settings import Settings
from contract.store import (
    BatchStore,
    Connection,
    FileStore,
    JobStore,
    ReapStore,
    ResponseStore,
    TakenText,
)
from contract.store.audit import audit
from contract.store.audit_report import KINDS, Audit
from contract.store.audit_walk import MORTAL, SETS, TELLING
from tests.support.attempts import attempts, finish
from tests.support.audited import Scene, scene
from tests.support.jobs import QUEUE, new_job
from tests.support.reaping import now_ms, reap

Damage = Callable[[Scene], object]
NOBODY = "job_of_nobody"
HOUR_MS = 3_600_000


def done(s: Scene, kind: str, situation: str = "done") -> object:
    entry = {"kind": kind, "attempt": "1", "data": '{"status":"completed"}'}
    return s.redis.xadd(keys.EVENTS(s[situation]), entry)


def in_an_hour(s: Scene) -> int:
    return int(s.redis.time()[0]) * 1000 + HOUR_MS


def vanish(s: Scene) -> None:
    job = s["cancelled"]
    s.redis.delete(keys.JOB(job), keys.EVENTS(job))
    for listed in (keys.INDEX(), keys.STATE("cancelled"), keys.EXPIRING()):
        s.redis.zrem(listed, job)


def pass_deadline(s: Scene) -> None:
    s.redis.hset(keys.JOB(s["waiting"]), "deadline_ms", 1)
    s.redis.zadd(keys.DEADLINES(), {s["waiting"]: 1})


def outlive(s: Scene) -> None:
    s.redis.hset(keys.JOB(s["done"]), "expires_ms", 1)
    s.redis.zadd(keys.EXPIRING(), {s["done"]: 1})


def forget_key(s: Scene) -> None:
    s.redis.hset(keys.IDEMPOTENCY("k2"), mapping={"job": NOBODY, "body": ""})
    s.redis.expire(keys.IDEMPOTENCY("k2"), 60)


#: What is done by hand, the situation or key that must be named, and all kinds that tell of it.
DAMAGE: dict[str, tuple[Damage, str, set[str]]] = {
    "equation": (lambda s: s.redis.hincrby(keys.COUNTERS(), "jobs_completed", -2), "", set()),
    "numbered": (lambda s: s.redis.incr(keys.SEQUENCE()), "", set()),
    "vanished": (vanish, "", set()),
    "record_missing": (
        lambda s: s.redis.delete(keys.JOB(s["waiting"])),
        "waiting",
        {"orphan", "input_orphan"},
    ),
    "unindexed": (lambda s: s.redis.zrem(keys.INDEX(), s["done"]), "done", {"vanished"}),
    "state_index": (
        lambda s: s.redis.zrem(keys.STATE("completed"), s["done"]), "done", {"equation"},
    ),
    "incomplete": (lambda s: s.redis.hdel(keys.JOB(s["done"]), "output"), "done", set()),
    "misplaced": (lambda s: s.redis.zrem(keys.PENDING(QUEUE), s["waiting"]), "waiting", set()),
    "rank": (lambda s: s.redis.zadd(keys.PENDING(QUEUE), {s["waiting"]: 1}), "waiting", set()),
    "leader": (lambda s: s.redis.delete(keys.LEADER("shared")), "follower", set()),
    "retry_overdue": (
        lambda s: s.redis.zadd(keys.RETRYING(QUEUE), {s["retrying"]: 1}), "retrying", set(),
    ),
    "unleased": (lambda s: s.redis.zrem(keys.LEASES(), s["running"]), "running", set()),
    "lease_overdue": (lambda s: s.redis.zadd(keys.LEASES(), {s["running"]: 1}), "running", set()),
    "lease_long": (
        lambda s: s.redis.zadd(keys.LEASES(), {s["running"]: in_an_hour(s)}), "running", set(),
    ),
    "not_running": (lambda s: s.redis.srem(keys.RUNNING("w1"), s["running"]), "running", {"hints"}),
    "worker_unknown": (
        lambda s: s.redis.zrem(keys.WORKERS(), "w1"), "running", {"worker_unlisted"},
    ),
    "ended_but_kept": (
        lambda s: s.redis.zadd(keys.LEASES(), {s["done"]: in_an_hour(s)}), "done", {"stray"},
    ),
    "deadline": (lambda s: s.redis.zrem(keys.DEADLINES(), s["waiting"]), "waiting", set()),
    "deadline_overdue": (pass_deadline, "waiting", set()),
    "expiry": (lambda s: s.redis.zrem(keys.EXPIRING(), s["done"]), "done", set()),
    "expiry_overdue": (outlive, "done", set()),
    "dead": (lambda s: s.redis.zrem(keys.DEAD(), s["dead"]), "dead", set()),
    "stream_missing": (lambda s: s.redis.delete(keys.EVENTS(s["done"])), "done", set()),
    "end_missing": (lambda s: done(s, "done", "waiting"), "waiting", set()),
    "ended_twice": (lambda s: done(s, "done"), "done", set()),
    "event_after_end": (lambda s: done(s, "token"), "done", set()),
    "orphan": (
        lambda s: s.redis.zadd(keys.LEASES(), {NOBODY: in_an_hour(s)}), f"mr:leases {NOBODY}", set()
    ),
    "stray": (
        lambda s: s.redis.zadd(keys.PENDING("other"), {s["waiting"]: 1}),
        "waiting",
        {"queue_unlisted"},
    ),
    "stream_orphan": (
        lambda s: s.redis.xadd(keys.EVENTS(NOBODY), {"kind": "done"}), f"mr:events:{NOBODY}", set(),
    ),
    "input_orphan": (
        lambda s: s.redis.set(keys.INPUT(NOBODY), "{}"), f"mr:input:{NOBODY}", set(),
    ),
    "idempotency": (forget_key, "mr:idempotency:", set()),
    "leader_stale": (
        lambda s: s.redis.set(keys.LEADER("other"), s["done"]), "mr:leader:other", set(),
    ),
    "worker_unlisted": (
        lambda s: s.redis.zadd(keys.SERVING(QUEUE), {"w9": in_an_hour(s)}),
        f"mr:serving:{QUEUE}",
        set(),
    ),
    "queue_unlisted": (
        lambda s: s.redis.hdel(keys.QUEUES(), QUEUE), f"mr:pending:{QUEUE}", set(),
    ),
    "immortal": (lambda s: s.redis.persist(keys.WORKER("w1")), "mr:worker:w1", set()),
    "hints": (lambda s: s.redis.hset(keys.WORKER("w1"), "slots", 2), QUEUE, set()),
}  # fmt: skip


def look(connection: Connection, settings: Settings) -> Audit:
    """An audit that trusts its first look."""
    return audit(connection, settings, settle_s=0)


@pytest.fixture
def whole(connection: Connection, settings: Settings) -> Scene:
    """A store in order, with a job in every situation."""
    made = scene(connection, settings)
    assert look(connection, settings).findings == ()
    return made


def test_files_batches_and_responses_are_in_order(
    connection: Connection, settings: Settings
) -> None:
    FileStore(connection).put("file-a", name="a", purpose="batch", size=1, ttl_s=3600)
    new = NewBatch(
        id="batch_a", endpoint="/v1/embeddings", input_file="file-a", window="24h",
        window_s=86_400, body_sha256="",
    )  # fmt: skip
    BatchStore(connection, lease_s=10).create(new)
    responses = ResponseStore(connection, ttl_s=60)
    responses.put("resp_a", {})
    responses.ended("resp_a")
    TakenText(JobStore(connection, settings)).take("job_a")
    assert look(connection, settings).findings == ()


def test_every_kind_of_finding_has_damage_that_it_names() -> None:
    assert set(DAMAGE) == set(KINDS)


def test_no_set_or_stream_that_outlives_its_job_is_left_out() -> None:
    looked_at = {*SETS, *TELLING, *MORTAL, keys.INDEX}
    kept = {k for k in keys.ALL if k.type.startswith(("zset", "set", "stream"))}
    no_jobs = {keys.FILES, keys.FILES_EXPIRING, keys.BATCHES, keys.OPEN_BATCHES}
    assert kept - looked_at == {keys.WORKERS, keys.CACHED, *no_jobs}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_and_named(
    kind: str, whole: Scene, connection: Connection, settings: Settings
) -> None:
    act, where, more = DAMAGE[kind]
    act(whole)
    found = {each.kind: each for each in look(connection, settings).findings}
    assert kind in found
    assert set(found) - more == {kind}
    assert found[kind].count >= 1
    if where:
        named = whole.ids.get(where, where)
        assert any(named in each for each in found[kind].ids)


def test_the_totals_account_for_every_life_and_every_record(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    totals = look(connection, settings).totals
    assert (totals.submitted, totals.redriven, totals.unaccounted) == (11, 1, 0)
    assert (totals.removed, totals.vanished, totals.dead) == (0, 0, 1)
    short = ReapStore(connection, replace(settings, lease_s=1))
    connection.redis.zadd(keys.EXPIRING(), {whole["done"]: 1})
    reap(connection, short)
    later = look(connection, settings)
    assert later.clean
    assert (later.totals.removed, later.totals.indexed) == (1, 10)


def test_a_store_from_before_removals_were_counted_is_taken_as_it_is(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    vanish(whole)
    connection.redis.hdel(keys.COUNTERS(), "jobs_removed")
    unknown = look(connection, settings)
    assert unknown.clean
    assert unknown.totals.removed is None
    reap(connection, whole.reaper)
    known = look(connection, settings)
    assert known.clean
    assert known.totals.removed == 1


def test_what_is_in_order_again_at_the_second_look_is_not_reported(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    [score] = connection.redis.zmscore(keys.PENDING(QUEUE), [whole["waiting"]])
    assert score is not None
    connection.redis.zrem(keys.PENDING(QUEUE), whole["waiting"])
    looks: list[int] = []

    def mend(looked: int, _: int) -> None:
        if not looks:
            connection.redis.zadd(keys.PENDING(QUEUE), {whole["waiting"]: score})
        looks.append(looked)

    assert audit(connection, settings, settle_s=0, progress=mend).clean
    assert looks == sorted(looks)


def test_a_second_end_is_found_however_long_the_stream(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    pipeline = connection.redis.pipeline(transaction=False)
    for _ in range(3000):
        pipeline.xadd(
            keys.EVENTS(whole["running"]), {"kind": "token", "attempt": "1", "data": "{}"}
        )
    pipeline.execute()
    assert look(connection, settings).clean
    for _ in range(2):
        done(whole, "done", "running")
    found = {each.kind: each.ids for each in look(connection, settings).findings}
    assert found == dict.fromkeys(("end_missing", "ended_twice"), (whole["running"],))


def test_a_lease_that_ran_out_while_redis_was_away_is_not_a_finding(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    connection.redis.zadd(keys.LEASES(), {whole["running"]: 1})
    connection.redis.hset(keys.REAPED(), "gap_end", now_ms(connection))
    assert look(connection, settings).clean


def test_nothing_is_found_while_the_system_works(
    whole: Scene, connection: Connection, settings: Settings
) -> None:
    over = threading.Event()
    worker = attempts(connection, settings, "w2")
    presence = worker.presence()
    presence.poll(0.1)

    def produce() -> None:
        while not over.is_set():
            whole.store.submit(new_job(priority=0, fingerprint=uuid.uuid4().hex[:1]))
            whole.store.cancel(whole.store.submit(new_job(priority=0)).job.id)
            whole.store.submit(new_job(priority=0, idempotency_key="again"))

    def consume() -> None:
        while not over.is_set():
            whole.reaper.reap()  # which takes w1, without a connection, for lost
            worker.beat(state="ready", queues=[QUEUE], held=[])
            while claimed := worker.claim([QUEUE], uuid.uuid4().hex):
                worker.publish([(claimed.job_id, claimed.attempt, "token", {"text": "a"}, 1)])
                finish(worker, claimed)  # unless it was cancelled

    with ThreadPoolExecutor(2) as threads:
        work = [threads.submit(act) for act in (produce, consume)]
        try:
            reports = [audit(connection, settings, settle_s=0.5) for _ in range(4)]
        finally:
            over.set()
    presence.close()
    assert [each.result() for each in work] == [None, None]
    assert [each.findings for each in reports] == [()] * 4
    assert reports[-1].records > reports[0].records
