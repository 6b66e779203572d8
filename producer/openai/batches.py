"""/v1/batches: files of calls, answered while nobody waits."""

import hashlib
import json
import secrets
from typing import Any

from contract import errors
from contract.batch import NewBatch
from contract.errors import FieldError, InvalidRequestError, UnknownFileError
from producer.api import Answer, Api, BodyChoice, Reply
from producer.front import Front
from producer.openai.batch_schemas import (
    BatchesQuery,
    BatchList,
    BatchObject,
    CreateBatch,
    batch_object,
)
from producer.openai.endpoints import ENDPOINTS
from producer.openai.file_schemas import edge
from producer.openai.problems import OPENAI
from producer.request_schemas import SubmitHeaders

PATH = "/v1/batches"


def add_batches(api: Api, front: Front) -> None:
    """Serve batches. What is in them is the feeder's."""

    @api.operation(
        "POST",
        PATH,
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(CreateBatch,), choose=lambda _: CreateBatch),
        replies=(Reply(status=200, meaning="It is recorded and will run.", body=BatchObject),),
        errors=(
            UnknownFileError,
            errors.IdempotencyConflictError,
            errors.StoreUnavailableError,
        ),
    )
    def create_batch(headers: SubmitHeaders, body: CreateBatch, raw: Any) -> Answer:
        """Answer every line of a file.

        Lines run when nobody waits for an answer. Each is run once, whatever dies meanwhile.
        """
        _check(body, front)
        key = headers.idempotency_key
        name = hashlib.sha256(key.encode()).hexdigest()[:24] if key else secrets.token_hex(12)
        canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
        batch = front.batches.create(
            NewBatch(
                id=f"batch_{name}",
                endpoint=body.endpoint,
                input_file=body.input_file_id,
                window=body.completion_window,
                window_s=body.window_s,
                body_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
                metadata=body.metadata or {},
                output_ttl_s=body.output_ttl_s,
            )
        )
        return Answer(body=batch_object(batch))

    @api.operation(
        "GET",
        PATH,
        tag="openai",
        dialect=OPENAI,
        query=BatchesQuery,
        replies=(Reply(status=200, meaning="A page of batches.", body=BatchList),),
        errors=(errors.UnknownBatchError, errors.StoreUnavailableError),
    )
    def list_batches(query: BatchesQuery) -> Answer:
        """List batches, the newest first."""
        page = front.batches.list_batches(limit=query.limit, after=query.after)
        rows = [batch_object(each) for each in page.items]
        return Answer(
            body=BatchList(
                data=rows, has_more=page.has_more, first_id=edge(rows[:1]), last_id=edge(rows[-1:])
            )
        )

    @api.operation(
        "GET",
        f"{PATH}/<batch_id>",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The batch.", body=BatchObject),),
        errors=(errors.UnknownBatchError, errors.StoreUnavailableError),
    )
    def retrieve_batch(batch_id: str) -> Answer:
        """Read a batch."""
        return Answer(body=batch_object(front.batches.get(batch_id)))

    @api.operation(
        "POST",
        f"{PATH}/<batch_id>/cancel",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="No further line begins.", body=BatchObject),),
        errors=(
            errors.UnknownBatchError,
            errors.BatchEndedError,
            errors.StoreUnavailableError,
        ),
    )
    def cancel_batch(batch_id: str) -> Answer:
        """Cancel a batch.

        Lines that run may end; it is `cancelling` until they have. What was finished is kept.
        """
        return Answer(body=batch_object(front.batches.cancel(batch_id)))


def _check(body: CreateBatch, front: Front) -> None:
    """Raise InvalidRequestError or UnknownFileError for what the body alone does not show."""
    if body.endpoint not in ENDPOINTS:
        raise _wrong("/endpoint", f"must be one of {', '.join(ENDPOINTS)}")
    file = front.files.get(body.input_file_id)
    if file.purpose != "batch":
        raise _wrong("/input_file_id", f"is a file for {file.purpose!r}, not for 'batch'")


def _wrong(pointer: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"body: {pointer} {detail}", [FieldError(pointer=pointer, detail=detail)]
    )
