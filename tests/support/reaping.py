"""The reaper's work at once, without the time that it would wait."""

from contract import keys
from contract.store import Connection, Reaped, ReapStore


def lose_worker(connection: Connection, reaper: ReapStore, worker: str) -> list[Reaped]:
    """What REAP does once it has missed the worker's connection twice and its beats for 0.75 s."""
    long_ago = now_ms(connection) - 1000
    connection.redis.zadd(keys.WORKERS(), {worker: long_ago})
    connection.redis.hset(keys.MISSING(), worker, str(long_ago))
    return reap(connection, reaper)


def now_ms(connection: Connection) -> int:
    """The server's clock, which is the one that leases go by."""
    seconds, micros = connection.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def reap(connection: Connection, reaper: ReapStore) -> list[Reaped]:
    """What one call of REAP reports, however recent the last one was."""
    connection.redis.delete(keys.REAPED())
    return reaper.reap()
