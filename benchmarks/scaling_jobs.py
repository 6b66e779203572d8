"""Jobs of one queue that no model serves, and workers of it that are only names."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.fingerprint import fingerprint
from contract.job import NewJob
from contract.queues import queue_name
from contract.settings import Settings
from contract.store import AttemptStore

PROMPT_BYTES = 512
_ALPHABET = "abcdefghijklmnopqrstuvwxyz     "


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A version that jobs name."""

    name: str
    digest: str

    @property
    def queue(self) -> str:
        """Of its jobs."""
        return queue_name(self.name, self.digest)

    @property
    def about(self) -> dict[str, Any]:
        """Its row in the registry."""
        return {"model": self.name, "version": 1, "digest": self.digest}


SIMULATED = Model(name="simulated", digest="5" * 64)
QUEUE = SIMULATED.queue


def settings_for(url: str, **more: str) -> Settings:
    """Settings of a process of the fleet or of a producer; more are without their prefix."""
    plain = {"REDIS_URL": url, "MAX_BACKLOG": "10000000", **more}
    return Settings.from_mapping({f"MILLRACE_{name}": value for name, value in plain.items()})


def job_maker(
    seed: int, hint: Callable[[str], str], *, tokens: int = 16, model: Model = SIMULATED
) -> Callable[[], NewJob]:
    """Makes jobs with a new prompt each, as the front makes them of a plain request.

    ``hint`` makes the message for a queue.
    """
    draw = random.Random(seed)
    story = "".join(draw.choices(_ALPHABET, k=PROMPT_BYTES))
    parameters: dict[str, Any] = {
        "max_tokens": tokens, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "stop": []
    }  # fmt: skip

    def make() -> NewJob:
        mark = secrets.token_hex(12)
        stored = {"messages": [{"role": "user", "content": mark + story[: -len(mark)]}]}
        return NewJob(
            id=f"job_{mark}",
            queue=model.queue,
            model=model.name,
            model_version=1,
            digest=model.digest,
            task="generate",
            input=stored,
            parameters=parameters,
            body_sha256=secrets.token_hex(32),
            hint=hint(model.queue),
            fingerprint=fingerprint(model.digest, "generate", stored, parameters),
        )

    return make


def register(store: AttemptStore, *, pid: int, slots: int, model: Model = SIMULATED) -> int:
    """Enter the registry as a worker that serves the model; how many hints its queue lacks."""
    lacking = store.register(
        queues={model.queue: model.about},
        host="simulated",
        pid=pid,
        device="cpu",
        models=[{**model.about, "queue": model.queue, "task": "generate", "slots": slots}],
        slots=slots,
        state="ready",
    )
    return lacking[model.queue]
