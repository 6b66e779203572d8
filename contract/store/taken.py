"""What readers that keep no place of their own have been told of a job."""

import json
from typing import Any

from contract import keys
from contract.store.connection import translated
from contract.store.jobs import JobStore

_KEPT_S = 3600


class TakenText:
    """Gives each part of a job's text once, to whoever asks first.

    Every method raises StoreUnavailableError when Redis does not answer.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def take(self, job_id: str) -> list[str]:
        """What the job has said since the last call; what a second attempt repeats is not new."""
        redis: Any = self._store.connection.redis
        key = keys.TAKEN(job_id)
        with translated():
            known = json.loads(redis.get(key) or '["0-0", 0]')
        last, length = str(known[0]), int(known[1])
        found = []
        for event in self._store.read_events({job_id: last})[job_id]:
            last = event.id
            if event.kind == "token":
                new = event.data["text"][max(length - (event.data.get("offset") or 0), 0) :]
                if new:
                    found.append(new)
                    length += len(new)
        with translated():
            redis.set(key, json.dumps([last, length]), ex=_KEPT_S)
        return found
