"""A worker whose every step a test takes by hand."""

import threading
import uuid
from collections.abc import Mapping
from typing import Any

from contract.errors import MillraceError
from contract.job import Claim
from contract.queues import queue_name
from contract.settings import Settings
from contract.store import AttemptStore, Connection
from model_store.manifest import ModelVersion

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_tokens": 0}


class HandWorker:
    """Registered for one model version, alive for the length of a block."""

    def __init__(self, settings: Settings, version: ModelVersion, slots: int = 4) -> None:
        self._connection = Connection(settings.redis_url)
        self._attempts = AttemptStore(self._connection, settings, f"hand-worker-{version.name}")
        self._presence = self._attempts.presence()
        self._version = version
        self._slots = slots
        self.queue = queue_name(version.name, version.digest)

    def __enter__(self) -> "HandWorker":
        self._presence.poll(0.1)
        about = {
            "model": self._version.name,
            "version": self._version.version,
            "digest": self._version.digest,
        }
        self._attempts.register(
            queues={self.queue: about},
            host="here",
            pid=1,
            device="cpu",
            models=[
                {
                    **about,
                    "queue": self.queue,
                    "task": self._version.manifest.task,
                    "slots": self._slots,
                }
            ],
            slots=self._slots,
            state="ready",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._attempts.unregister([self.queue])
        self._presence.close()
        self._connection.redis.close()

    def claim(self) -> Claim:
        """The next job."""
        claim = self._attempts.claim([self.queue], nonce=uuid.uuid4().hex)
        assert claim is not None, "no job waits"
        return claim

    def say(self, claim: Claim, *texts: str) -> None:
        """Publish one token event for each text."""
        offset = 0
        for number, text in enumerate(texts, 1):
            data = {"text": text, "offset": offset, "completion_tokens": number}
            self._attempts.publish([(claim.job_id, claim.attempt, "token", data, number)])
            offset += len(text)

    def finish(self, claim: Claim, output: Mapping[str, Any] | None = None) -> bool:
        """Complete the job."""
        answer = {"text": "Paris.", "finish_reason": "stop"}
        return self._attempts.finish(claim, output or answer, USAGE)

    def serve(self, stop: threading.Event) -> None:
        """Complete whatever comes until told to stop."""
        while not stop.wait(0.02):
            self._attempts.beat(state="ready", queues=[self.queue], held=[])
            nonce = uuid.uuid4().hex
            while claim := self._attempts.claim([self.queue], nonce=nonce):
                if claim.task == "embed":
                    vectors = [
                        [1.0, 0.0] for _ in claim.input.get("texts") or claim.input["tokens"]
                    ]
                    many = claim.input["many"]
                    self.finish(
                        claim, {"embeddings": vectors} if many else {"embedding": vectors[0]}
                    )
                else:
                    self.say(claim, "Par", "is.")
                    self.finish(claim)
                nonce = uuid.uuid4().hex

    def fail(self, claim: Claim, error: MillraceError) -> str:
        """Let the attempt raise."""
        return self._attempts.fail(claim, error)
