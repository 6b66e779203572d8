"""The records of batches, as fronts and feeders see them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from contract import keys
from contract.batch import (
    ENDED,
    Batch,
    BatchState,
    LeasedBatch,
    LeaseLostError,
    LineError,
    NewBatch,
)
from contract.errors import BatchEndedError, IdempotencyConflictError, UnknownBatchError
from contract.job import Page
from contract.store.connection import Connection, translated
from contract.store.pages import fields_of, records

_DROPPED_AT_ONCE = 500
#: States that a cancelled batch may be in.
_CANCELLED = (BatchState.CANCELLING, BatchState.CANCELLED)


class BatchStore:
    """Batches by id. Every method raises StoreUnavailableError when Redis does not answer.

    ``lease_s`` is the time after which the batches of a silent feeder go to another one.
    """

    def __init__(self, connection: Connection, *, lease_s: float) -> None:
        self._connection = connection
        self._lease_ms = int(lease_s * 1000)

    def create(self, new: NewBatch) -> Batch:
        """Record a batch, once for its id. Raises IdempotencyConflictError."""
        row = self._connection.run(
            "create_batch", new.id, new.endpoint, new.input_file, new.window,
            int(new.window_s * 1000), json.dumps(dict(new.metadata)), new.body_sha256,
            new.output_ttl_s,
        )  # fmt: skip
        made = _batch(new.id, fields_of(row))
        if made.body_sha256 != new.body_sha256:
            raise IdempotencyConflictError(
                "this Idempotency-Key was used with another request body; use a new key"
            )
        return made

    def get(self, batch_id: str) -> Batch:
        """One batch. Raises UnknownBatchError."""
        with translated():
            fields: Any = self._connection.redis.hgetall(keys.BATCH(batch_id))
        return _known(batch_id, fields)

    def list_batches(self, *, limit: int, after: str | None) -> Page[Batch]:
        """Batches, newest first, from behind ``after``. Raises UnknownBatchError for that one."""
        rows = records(self._connection, keys.BATCHES(), keys.BATCH, after)
        if rows is None:
            raise UnknownBatchError(f"no batch has the id {after!r}, given as 'after'")
        found = []
        for batch_id, fields in rows:
            found.append(_batch(batch_id, fields))
            if len(found) > limit:
                break
        return Page(items=found[:limit], has_more=len(found) > limit)

    def cancel(self, batch_id: str) -> Batch:
        """Let no further line begin. Raises UnknownBatchError, BatchEndedError."""
        batch = _known(batch_id, fields_of(self._connection.run("cancel_batch", batch_id)))
        if batch.state not in _CANCELLED:
            raise BatchEndedError(
                f"batch {batch_id!r} is {batch.state}: there is nothing to cancel"
            )
        return batch

    def lease(self) -> LeasedBatch | None:
        """A batch that nobody holds, if there is one."""
        row = self._connection.run("lease_batch", self._lease_ms)
        if row is None:
            return None
        batch_id, attempt, now_ms, failures, fields = row
        batch = _batch(batch_id, fields_of(fields))
        return LeasedBatch(batch=batch, attempt=attempt, now_ms=now_ms, failures=failures)

    def keep(self, leased: LeasedBatch) -> tuple[BatchState, int]:
        """Renew a lease; the batch's state, and how many are open. Raises LeaseLostError."""
        state, others = self._keep(leased, self._lease_ms, ends=False)
        return _held(leased, state), int(others)

    def leave(self, leased: LeasedBatch, *, pause_s: float = 0.0) -> None:
        """Let a feeder go on with it after ``pause_s``; a stale attempt has nothing to leave."""
        self._keep(leased, int(pause_s * 1000), ends=True)

    def _keep(self, leased: LeasedBatch, lease_ms: int, *, ends: bool) -> tuple[str, str]:
        state, others = self._connection.run(
            "keep_batch", leased.batch.id, leased.attempt, lease_ms, int(ends)
        )
        return state, others

    def advance(
        self,
        leased: LeasedBatch,
        state: BatchState | None = None,
        *,
        errors: Sequence[LineError] = (),
        **fields: Any,
    ) -> BatchState:
        """Write ``fields`` of the record, and move it to ``state``, unless it is being cancelled.

        Returns:
            The state that it is in then.

        Raises:
            LeaseLostError: another feeder has it.
        """
        written = {name: value for name, value in fields.items() if value is not None}
        if "usage" in written:
            written["usage"] = json.dumps(written["usage"])
        if errors:
            written["errors"] = json.dumps([asdict(each) for each in errors])
        flat = [part for pair in written.items() for part in pair]
        ends = int(state in ENDED)
        found = self._connection.run(
            "advance_batch", leased.batch.id, leased.attempt, state, ends, *flat
        )
        return _held(leased, found)

    def drop_old(self, kept_s: float) -> int:
        """Forget those that ended more than ``kept_s`` ago; how many."""
        return int(self._connection.run("drop_batch", int(kept_s * 1000), _DROPPED_AT_ONCE))


def _held(leased: LeasedBatch, state: str) -> BatchState:
    if not state:
        raise LeaseLostError(f"batch {leased.batch.id} is another feeder's, or has ended")
    return BatchState(state)


def _known(batch_id: str, fields: dict[str, str]) -> Batch:
    if not fields:
        raise UnknownBatchError(f"no batch has the id {batch_id!r}")
    return _batch(batch_id, fields)


def _batch(batch_id: str, fields: dict[str, str]) -> Batch:
    entered = {state: fields.get(f"entered:{state}") for state in BatchState}
    return Batch(
        id=batch_id,
        state=BatchState(fields["state"]),
        endpoint=fields["endpoint"],
        input_file=fields["input_file"],
        window=fields["window"],
        body_sha256=fields["body"],
        metadata=json.loads(fields["metadata"]),
        created_ms=int(fields["created_ms"]),
        deadline_ms=int(float(fields["deadline_ms"])),
        entered_ms={state: int(at) for state, at in entered.items() if at},
        model=fields.get("model"),
        total=int(fields.get("total", 0)),
        completed=int(fields.get("completed", 0)),
        failed=int(fields.get("failed", 0)),
        errors=[LineError(**each) for each in json.loads(fields.get("errors", "[]"))],
        output_file=fields.get("output_file"),
        error_file=fields.get("error_file"),
        usage=json.loads(fields.get("usage", "{}")),
        output_ttl_s=float(ttl_s) if (ttl_s := fields.get("output_ttl_s")) else None,
    )
