"""What was asked for by responses: a job's record has the answer, and forgets the question."""

import json
from collections.abc import Mapping
from typing import Any

from contract import keys
from contract.errors import UnknownResponseError
from contract.store.connection import Connection, translated

#: A job may wait so long before it runs; its answer is kept for ``ttl_s`` more.
_WAIT_S = 7 * 24 * 3600


class ResponseStore:
    """Requests by the id of their response.

    Every method raises StoreUnavailableError when Redis does not answer.
    """

    def __init__(self, connection: Connection, *, ttl_s: float) -> None:
        self._connection = connection
        self._ttl_s = int(ttl_s) + _WAIT_S

    def put(self, response_id: str, asked: Mapping[str, Any]) -> None:
        """Keep a request."""
        text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
        with translated():
            self._connection.redis.set(keys.RESPONSE(response_id), text, ex=self._ttl_s)

    def get(self, response_id: str) -> dict[str, Any]:
        """A request. Raises UnknownResponseError."""
        with translated():
            text: Any = self._connection.redis.get(keys.RESPONSE(response_id))
        if text is None:
            raise UnknownResponseError(f"no response has the id {response_id!r}")
        found: dict[str, Any] = json.loads(text)
        return found

    def ended(self, response_id: str) -> None:
        """Keep a request no longer than the record of its job, which has ended."""
        with translated():
            left_s = self._ttl_s - _WAIT_S
            self._connection.redis.expire(keys.RESPONSE(response_id), left_s, lt=True)

    def drop(self, response_id: str) -> None:
        """Forget a request, if it is there."""
        with translated():
            self._connection.redis.delete(keys.RESPONSE(response_id))
