"""Many callers share few connections."""

import threading
from concurrent.futures import ThreadPoolExecutor

from contract.store import JobStore
from contract.store.connection import MAX_CONNECTIONS
from tests.support.redis_server import RedisServer


def test_more_callers_than_connections_wait_their_turn(
    redis_server: RedisServer, store: JobStore
) -> None:
    callers = 3 * MAX_CONNECTIONS
    together = threading.Barrier(callers)

    def call(_: int) -> None:
        together.wait()
        store.ping()

    with ThreadPoolExecutor(callers) as pool:
        redis_server.client().client_pause(500)  # so that all of them wait for an answer at once
        assert list(pool.map(call, range(callers))) == [None] * callers
    listed = redis_server.client().info("clients")
    assert MAX_CONNECTIONS <= listed["connected_clients"] < 2 * MAX_CONNECTIONS
