"""The store as a worker sees it: every write carries the attempt and is refused when stale."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.errors import MillraceError
from contract.job import Claim
from contract.settings import Settings
from contract.store.channels import Presence
from contract.store.connection import Connection

_FIRST_BACKOFF_MS = 1000


class ClaimBlocked(Exception):  # noqa: N818 - an answer, not an error
    """Jobs wait, but not for a batch such as this worker runs now; ask again when it shrinks."""


#: Text on its way to a job's readers: job, attempt, kind, data, completion tokens so far.
TokenEvent = tuple[str, int, str, Mapping[str, Any], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What FINISH did: whether it stored the result, and what the slot that ended has to do next.

    ``following`` is None when no job waits, none was asked for, or the claim was ``blocked``.
    """

    stored: bool
    following: Claim | None = None
    blocked: bool = False


class AttemptStore:
    """CLAIM, BEAT, PUBLISH, FINISH, FAIL, RELEASE, ABANDON and the worker's place in the registry.

    Every method raises StoreUnavailableError when Redis does not answer.
    """

    def __init__(self, connection: Connection, settings: Settings, worker_id: str) -> None:
        self.worker_id = worker_id
        self._connection = connection
        self._settings = settings
        self._lease_ms = int(settings.lease_s * 1000)
        self._ttl_ms = int(settings.result_ttl_s * 1000)
        self._few = max(2, settings.slots // 4)

    def presence(self) -> Presence:
        """The connection that shows this worker to be alive."""
        return Presence(self._connection, self.worker_id)

    def register(
        self,
        *,
        queues: Mapping[str, Mapping[str, Any]],
        host: str,
        pid: int,
        device: str,
        models: Sequence[Mapping[str, Any]],
        slots: int,
        state: str,
    ) -> dict[str, int]:
        """Enter the registry; returns how many hints each queue lacks, now that it has more slots.

        ``queues`` maps each queue to its {model, version, digest}; ``models`` are the rows that
        readers see, with the ``queue`` and ``slots`` of each.
        """
        described = [part for name, row in queues.items() for part in (name, json.dumps(row))]
        row = {
            "host": host,
            "pid": pid,
            "device": device,
            "models": json.dumps(models),
            "slots": slots,
            "state": state,
            **{f"slots:{model['queue']}": model["slots"] for model in models},
        }
        fields = [part for item in row.items() for part in item]
        lacking = self._connection.run(
            "register", self.worker_id, self._lease_ms, len(queues), *described, *fields
        )
        return dict(zip(queues, lacking, strict=True))

    def unregister(self, queues: Iterable[str]) -> None:
        """Leave the registry in order."""
        self._connection.run("unregister", self.worker_id, *queues)

    def claim(self, queues: Sequence[str], nonce: str) -> Claim | None:
        """The best job of ``queues`` that this worker may run now; None when none waits.

        Raises:
            ClaimBlocked: jobs wait that must not join the present batch.
        """
        answer = self._connection.run(
            "claim", self.worker_id, nonce, self._lease_ms, self._few, *queues
        )
        if answer[0] == "blocked":
            raise ClaimBlocked
        return _claim_of(answer)

    def beat(
        self, *, state: str, queues: Sequence[str], held: Sequence[tuple[str, int]]
    ) -> tuple[bool, set[str]]:
        """Renew every lease; returns whether the worker is registered, and jobs it lost."""
        flat = [part for pair in held for part in pair]
        answer = self._connection.run(
            "beat", self.worker_id, self._lease_ms, state, len(queues), *queues, *flat
        )
        return answer[0] == 1, set(answer[1:])

    def publish(self, events: Sequence[TokenEvent]) -> set[str]:
        """Append to streams; returns lost jobs."""
        flat = [
            part
            for job_id, attempt, kind, data, tokens in events
            for part in (job_id, attempt, kind, _dumps(data), tokens)
        ]
        return set(self._connection.run("publish", self.worker_id, *flat))

    def finish(self, claim: Claim, output: Mapping[str, Any], usage: Mapping[str, int]) -> bool:
        """Store the result; False when the attempt no longer holds the job."""
        return self.finish_and_claim(claim, output, usage, last=None, queues=(), nonce="").stored

    def finish_and_claim(
        self,
        claim: Claim,
        output: Mapping[str, Any],
        usage: Mapping[str, int],
        *,
        last: TokenEvent | None,
        queues: Sequence[str],
        nonce: str,
    ) -> Finished:
        """Store the result behind the ``last`` text, and claim as :meth:`claim` does, in one call.

        Without ``queues`` nothing is claimed.
        """
        s = self._settings
        data, tokens = ("", 0) if last is None else (_dumps(last[3]), last[4])
        stored, *claimed = self._connection.run(
            "finish", self.worker_id, claim.job_id, claim.attempt, _dumps(output),
            json.dumps(usage), self._ttl_ms, int(s.cache_ttl_s * 1000), s.cache_max_entries,
            data, tokens, nonce, self._lease_ms, self._few, *queues,
        )  # fmt: skip
        answer = claimed[0] if claimed else ["empty"]
        return Finished(
            stored=stored == 1, following=_claim_of(answer), blocked=answer[0] == "blocked"
        )

    def fail(self, claim: Claim, error: MillraceError) -> str:
        """Record that the attempt raised: 'retrying', 'failed', 'dead' or 'fenced'."""
        record = {"code": error.code, "message": error.detail, "retryable": error.retryable}
        outcome: str = self._connection.run(
            "fail", self.worker_id, claim.job_id, claim.attempt, json.dumps(record),
            int(error.retryable), self._settings.max_attempts, _FIRST_BACKOFF_MS, self._ttl_ms,
        )  # fmt: skip
        return outcome

    def release(self, claim: Claim) -> bool:
        """Give the job back uncharged; False when it was not ours any more."""
        return bool(self._connection.run("release", self.worker_id, claim.job_id, claim.attempt))

    def abandon(self, cause: str) -> bool:
        """Say why this process is about to end; False when it was missed long ago."""
        return bool(self._connection.run("abandon", self.worker_id, self._lease_ms, cause))


def _claim_of(answer: Sequence[Any]) -> Claim | None:
    if answer[0] != "claimed":
        return None
    _, job_id, attempt, queue, task, priority, run = answer
    asked = json.loads(run)
    return Claim(
        job_id=job_id,
        attempt=int(attempt),
        queue=queue,
        task=task,
        input=asked["input"],
        parameters=asked["parameters"],
        priority=int(priority),
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
