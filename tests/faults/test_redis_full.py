"""Redis has no memory left, or its disk is full, while clients submit and read."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Row
from tests.faults.test_redis_loss import pids, urgent_job_s
from tests.support.lab import Lab
from tests.support.ledger import Clients, settle
from tests.support.onlookers import Onlooker, Tries
from tests.support.redis_server import RedisServer
from tests.support.service import prompt
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)
ROOM_BYTES = 100_000
REFUSED = (503, "store_unavailable")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_mb=16) as disk:
        yield disk


def test_a_redis_without_memory_refuses_jobs_and_loses_neither_these_nor_results(
    tmp_path: Path, row: Row, full: bool
) -> None:
    lab = Lab(tmp_path, workers=2, token_s=0.01).start()

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
    tmp_path: Path, disk: SmallDisk, row: Row, full: bool, fsync: str
) -> None:
    redis = RedisServer(disk.folder / "redis", fsync)
    lab = Lab(tmp_path / "lab", workers=2, token_s=0.01, redis=redis).start()

    def make_room() -> None:
        disk.make_room()
        if not redis.alive:  # with appendfsync always it ends itself at the first failed write
            redis.start()

    endure(
        lab, row, f"full disk, appendfsync {fsync}", disk.fill, make_room,
        full_s=10 if full else 3,
    )  # fmt: skip


def endure(
    lab: Lab, row: Row, fault: str, exhaust: Callable[[], None], make_room: Callable[[], None],
    *, full_s: float,
) -> None:  # fmt: skip
    """Load, no room for ``full_s`` seconds, room again; and what must hold."""
    try:
        living = pids(lab)
        stories = [lab.submit(prompt(f"a story {n}", 300))["id"] for n in range(4)]
        onlooker = Onlooker(lab, lab.fronts[0].url, stories).start()
        clients = Clients(lab, in_flight=60).start()
        lab.completes(20, timeout_s=30)
        exhaust()
        tries = Tries(lab)
        eventually(lambda: tries.submit() == 503, timeout_s=30, every_s=0.01)
        refused_s = time.monotonic()
        while time.monotonic() < refused_s + full_s:
            tries.submit()
            time.sleep(0.1)
        stayed = lab.redis.alive
        ready = lab.http.get("/readyz")
        kept = sum(queue.running for queue in lab.store.queues()) if stayed else 0
        make_room()
        again_s = urgent_job_s(lab)
        accepted = stories + tries.accepted + clients.stop()
        account = settle(lab, accepted, timeout_s=60)
        onlooker.stop()
        row(
            fault, account,
            f"{'stayed up' if stayed else 'Redis ended itself'}, {kept} runs open; "
            f"consuming after {again_s:.2f} s; {tries.answers[REFUSED]} submits refused within "
            f"{tries.slowest_s:.2f} s; reads took {onlooker.slowest_s:.1f} s at most",
        )  # fmt: skip
        account.check()
        assert account.states == {"completed": len(accepted)}
        assert lab.tried_again(accepted) == []
        assert living <= pids(lab)
        assert lab.exits == []
        assert again_s <= 5
        assert (ready.status_code, ready.json()["missing"]) == (503, ["redis"])
        assert set(tries.answers) <= {(202, ""), REFUSED}
        assert tries.answers[REFUSED] > 5
        assert tries.slowest_s < 10
        assert onlooker.statuses <= {200, 503}
        assert onlooker.slowest_s < 10
        for story in onlooker.stories:
            story.check()
    finally:
        lab.stop()
