"""A worker's side of the store, as far as a test of one queue needs it."""

import uuid

from contract.job import Claim
from contract.settings import Settings
from contract.store import AttemptStore, Connection
from tests.support.jobs import QUEUE

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cached_tokens": 0}


def attempts(connection: Connection, settings: Settings, name: str = "w1") -> AttemptStore:
    """The store as worker ``name`` sees it, registered and ready."""
    store = AttemptStore(connection, settings, name)
    register(store, settings)
    return store


def register(store: AttemptStore, settings: Settings) -> dict[str, int]:
    """Enter the registry: who is not there is given nothing."""
    return store.register(
        queues={QUEUE: {"model": "tiny", "version": 1, "digest": "0123456789abcdef"}},
        host="here", pid=1, device="cpu", models=[], slots=settings.slots, state="ready",
    )  # fmt: skip


def claim(worker: AttemptStore) -> Claim:
    """The next job; ClaimBlocked when there is one that this worker may not have now."""
    found = worker.claim([QUEUE], uuid.uuid4().hex)
    assert found is not None
    return found


def finish(worker: AttemptStore, claimed: Claim, text: str = "four words of text") -> bool:
    """Complete a job; False when the attempt is no longer the worker's own."""
    return worker.finish(claimed, {"text": text, "finish_reason": "stop"}, USAGE)
