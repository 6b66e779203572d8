"""The primary behind a group of Sentinels, found anew by every connection that is opened."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

#: Sentinels are asked one after the other, and one whose machine is gone costs this much.
SENTINEL_TIMEOUT_S = 0.5


class Sentinels:
    """Knows the primary's address by asking all Sentinels and believing the latest election.

    The first answer would not do: for some seconds after a failover a Sentinel that has not heard
    of it still names the old primary, which, if it came back, takes writes that are then lost.
    Nor would the address alone: until the Sentinel that leads the failover has seen the replica
    promoted, it names the old primary too, and only its flags say that this one is given up.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], name: str) -> None:
        self._name = name
        self.latest: tuple[str, int] | None = None
        """What the last question found."""
        self._clients = [
            redis.Redis(
                host,
                port,
                decode_responses=True,
                socket_timeout=SENTINEL_TIMEOUT_S,
                socket_connect_timeout=SENTINEL_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
            for host, port in hosts
        ]

    def primary(self) -> tuple[str, int]:
        """Host and port.

        Raises:
            MasterNotFoundError: no Sentinel knows them.
            ConnectionError: a failover is under way, and what it promotes is not known yet.
            TimeoutError: none was reached and some kept silent. That is redis-py's, which is not
                tried again: the rounds would add up.
        """
        named: list[tuple[int, bool, tuple[str, int]]] = []
        silent = 0
        for client in self._clients:
            try:
                named.append(self._named_by(client))
            except RedisTimeoutError:
                silent += 1
            except RedisError:
                continue  # it is gone, or knows no such primary: the others are asked too
        if not named and silent:
            raise RedisTimeoutError(f"no Sentinel says where the primary of {self._name!r} is")
        if not named:
            raise MasterNotFoundError(f"no Sentinel names the primary of {self._name!r}")
        _, given_up, address = max(named)
        if given_up:
            raise RedisConnectionError(f"a failover of {self._name!r} is under way")
        self.latest = address
        return address

    def _named_by(self, client: "redis.Redis") -> tuple[int, bool, tuple[str, int]]:
        """One Sentinel's answer: election, whether it gives that primary up, host and port."""
        state: Any = client.sentinel_master(self._name)
        address = (state["ip"], state["port"])
        if "failover_in_progress" not in state["flags"]:
            return state["config-epoch"], False, address
        # It leads the failover: by this question alone it names the promoted one, once it knows.
        promoted: Any = client.sentinel_get_master_addr_by_name(self._name)
        return state["config-epoch"], promoted == address, promoted


class PrimaryConnection(Connection):
    """A connection to the primary of the moment.

    redis-py's own asks the Sentinels only for a connection out of the pool: one that breaks in
    the middle of a command goes back to the old address.

    Once one of them has found another primary, the others leave the old one when they are next
    taken from the pool: it may be a machine that does not say any more that it is gone.
    """

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(redis_connect_func=_greet, **options)  # type: ignore[no-untyped-call]
        self._sentinels = sentinels

    def connect(self) -> None:
        """Connect unless that is done; called whenever it is taken from the pool."""
        if (self.host, self.port) != self._sentinels.latest:
            self.disconnect()  # type: ignore[no-untyped-call]
        super().connect()  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        self.host, self.port = self._sentinels.primary()
        return super()._connect()  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py's, but a primary that has become a replica is left at once."""
        try:
            return super().read_response(*arguments, **options)
        except ReadOnlyError as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError("the primary has become a replica") from error


def _greet(connection: Connection) -> None:
    """Make sure that it is a primary: a replica takes subscriptions, and rings for nobody."""
    connection.on_connect()  # type: ignore[no-untyped-call]
    connection.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
    try:
        role = connection.read_response()
    except NoPermissionError:
        return  # the first write will tell
    if role[0] not in ("master", b"master"):
        raise RedisConnectionError("the Sentinels name a replica: a failover is under way")
