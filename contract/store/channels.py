"""Pub/sub as a doorbell: it says that something changed; the record says what."""

import time
from typing import Any

from redis.client import PubSub
from redis.exceptions import RedisError

from contract import keys
from contract.store.connection import Connection

ENDED = "!"
PRESENCE_PREFIX = "millrace-worker:"


class _Channel:
    """One subscription that comes back by itself after a broken connection."""

    def __init__(self, connection: Connection, channel: str, name: str | None) -> None:
        self._connection = connection
        self._client = connection.open(name)
        self._channel = channel
        self._pubsub: PubSub | None = None

    def poll(self, timeout_s: float) -> str | None:
        """The next message's text; "" when none came in time; None after a (re)connection."""
        try:
            if self._pubsub is not None and self._connection.has_left(self._pubsub.connection):
                self._drop()  # one that stands still would never say that it is a replica now
            if self._pubsub is None:
                pubsub: PubSub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                pubsub.subscribe(self._channel)
                self._pubsub = pubsub
                return None
            message: Any = self._pubsub.get_message(timeout=timeout_s)
        except RedisError:
            self._drop()
            time.sleep(min(timeout_s, 0.1))
            return ""
        return str(message["data"]) if message else ""

    def _drop(self) -> None:
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None

    def close(self) -> None:
        """End the subscription and its connection."""
        self._drop()
        self._client.close()


class WakeUps(_Channel):
    """Ids of jobs whose event streams have grown, for the readers of one process.

    A job that ended is there as its id with ``ENDED`` behind it.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, keys.WAKE(), None)

    def wait(self, timeout_s: float) -> set[str] | None:
        """Ids since the last call, after at most ``timeout_s``; None: any may have been missed."""
        text = self.poll(timeout_s)
        return None if text is None else set(text.split())


class Presence(_Channel):
    """A worker's named connection: it proves that the process lives and rings for its jobs.

    It is lost at the moment the process dies, so the reaper need not wait for the lease.
    """

    def __init__(self, connection: Connection, worker_id: str) -> None:
        super().__init__(connection, keys.CONTROL(worker_id), PRESENCE_PREFIX + worker_id)
