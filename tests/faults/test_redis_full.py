"""Redis has no memory left, or its disk is full, while clients submit and read."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.support.lab import Lab
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)
ROOM_BYTES = 100_000


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disk"), size_mb=64) as disk:
        yield disk


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, disk: SmallDisk) -> Iterator[Lab]:
    lab = Lab(
        tmp_path_factory.mktemp("lab"), workers=2, token_s=0.01,
        redis=RedisServer(disk.folder / "redis"),
    )  # fmt: skip
    try:
        yield lab.start()
    finally:
        lab.stop()


def test_a_redis_without_memory_refuses_jobs_and_loses_neither_these_nor_results(
    lab: Lab, row: Row, full: bool
) -> None:
    def exhaust() -> None:
        with lab.redis.client() as redis:
            used: Any = redis.info("memory")
            redis.config_set("maxmemory", used["used_memory"] + ROOM_BYTES)

    def make_room() -> None:
        with lab.redis.client() as redis:
            redis.config_set("maxmemory", 0)

    endure(lab, row, "Redis without memory", exhaust, make_room, full_s=10 if full else 3)


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_a_redis_with_a_full_disk_refuses_jobs_and_loses_neither_these_nor_results(
    lab: Lab, disk: SmallDisk, row: Row, full: bool, fsync: str
) -> None:
    if not disk.small:
        pytest.skip("a small disk cannot be mounted here")
    with lab.redis.client() as redis:
        redis.config_set("appendfsync", fsync)

    def make_room() -> None:
        disk.make_room()
        if not lab.redis.alive:  # with appendfsync always it ends itself at the first failed write
            lab.redis.start()

    endure(
        lab, row, f"full disk, appendfsync {fsync}", disk.fill, make_room,
        full_s=10 if full else 3, in_flight=16,  # of 32 slots: workers ask for hints all the time
    )  # fmt: skip


def endure(
    lab: Lab, row: Row, fault: str, exhaust: Callable[[], None], make_room: Callable[[], None],
    *, full_s: float, in_flight: int = 60,
) -> None:  # fmt: skip
    """Load, no room for ``full_s`` seconds, room again; and what must hold."""
    load = Load(lab, fault, story_tokens=400, in_flight=in_flight).start()
    exhaust()
    eventually(lambda: load.tries.submit() == 503, timeout_s=30, every_s=0.01)
    refused_s = time.monotonic()
    while time.monotonic() < refused_s + full_s:
        load.tries.submit()
        time.sleep(0.1)
    # At the limit of memory a moment's small change decides, so one look may find it ready.
    eventually(lambda: lab.http.get("/readyz").json()["missing"] == ["redis"], timeout_s=10)
    stayed = lab.redis.alive
    kept = sum(queue.running for queue in lab.store.queues()) if stayed else 0
    make_room()
    consuming_s = load.urgent_job_s()
    account = load.end()
    about = f"Redis stayed up, {kept} runs waited" if stayed else "Redis ended itself"
    row(fault, account, f"{about}; consuming after {consuming_s:.2f} s; {load.waits}")
    load.check(account)
    assert load.tries.answers[503, "store_unavailable"] > 5
    assert kept > 0 or not stayed
    assert consuming_s <= 5
