"""The store as the reaper sees it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from contract.settings import Settings
from contract.store.channels import PRESENCE_PREFIX
from contract.store.connection import Connection, translated

_MOST_HINTS = 500
_EVERY_MS = 400  # see the script


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """One thing that REAP did: its kind and the parts that its script documents."""

    kind: str
    parts: tuple[Any, ...]


class ReapStore:
    """REAP, which must know for how long Redis has been steady.

    A worker cannot renew while Redis is away, so an expired lease says nothing of it then.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._lease_ms = int(settings.lease_s * 1000)
        self._ttl_ms = int(settings.result_ttl_s * 1000)
        self._clock_s = clock_s
        self._failed_s = -math.inf

    def note_failure(self) -> None:
        """Redis just failed this process."""
        self._failed_s = self._clock_s()

    def reap(self) -> list[Reaped]:
        """Look whether the store is the known one, and call REAP, unless another process just did.

        Who has connections is asked only then: of 100 workers nearly all ask in vain.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        identity = self._connection.identity
        identity.look()
        if identity.reaped_ms_ago is not None and 0 <= identity.reaped_ms_ago < _EVERY_MS:
            return []
        with translated():
            about: Any = self._connection.redis.info("server")
            listed, present = self._present()
        steady_s = min(int(about["uptime_in_seconds"]), self._clock_s() - self._failed_s)
        report = self._connection.run(
            "reap", self._lease_ms, self._ttl_ms, int(steady_s * 1000), _MOST_HINTS,
            int(listed), about.get("run_id"), *present,
        )  # fmt: skip
        return [Reaped(kind=row[0], parts=tuple(row[1:])) for row in report]

    def _present(self) -> tuple[bool, list[str]]:
        """Whether connections could be listed, and the workers that have a named one."""
        try:
            clients: Any = self._connection.redis.client_list(_type="pubsub")
        except ResponseError:
            return False, []  # a Redis that hides its clients: leases alone must do
        names = [str(client.get("name", "")) for client in clients]
        return True, [n[len(PRESENCE_PREFIX) :] for n in names if n.startswith(PRESENCE_PREFIX)]
