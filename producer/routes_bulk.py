"""POST /api/v1/jobs:batch."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contract import errors
from contract.errors import InvalidRequestError
from producer.api import Answer, Api, BodyChoice, Reply
from producer.bulk import BulkAdmission, Outcome
from producer.bulk_schemas import AcceptedJob, BulkAnswer, BulkHeaders, BulkRequest, RefusedJob
from producer.problems import describe, retry_after_s
from producer.views import JOBS_PATH, view_job

_LATER = {"Retry-After": "Seconds after which all that may be accepted then should be sent again."}

_VIEWS_AT_ONCE = 25  # then other requests have a turn: a view takes about 40 us


def add_bulk(api: Api, bulk: BulkAdmission, *, max_body_bytes: int) -> None:
    """Serve bulk submits."""

    @api.operation(
        "POST",
        f"{JOBS_PATH}:batch",
        tag="jobs",
        headers=BulkHeaders,
        body=BodyChoice(models=(BulkRequest,), choose=lambda _: BulkRequest),
        max_body_bytes=max_body_bytes,
        replies=(
            Reply(
                status=200,
                meaning="What became of each job; some may have been refused.",
                body=BulkAnswer,
                headers=_LATER,
                optional=frozenset(_LATER),
            ),
        ),
        errors=(
            errors.BodyTooLargeError,
            errors.StoreUnavailableError,
            errors.StoreReplacedError,
            errors.NotReplicatedError,
        ),
    )
    def submit_jobs(headers: BulkHeaders, body: BulkRequest, **_: Any) -> Answer:
        """Submit up to 1,000 jobs.

        Each has an entry in the answer, in the same order: 202 with the job, which is recorded
        and will be run, or the status and the problem that a submit of it alone would have. A
        refused job changes nothing for the others: when the queue is full in the midst, the
        later ones have 429, each with its own `retry_after_s`, and the header Retry-After is the
        greatest of these. When the store fails in the midst, the rest have 503. The whole answer
        is 503 only when no job was accepted: repeat the call then, with its Idempotency-Key.
        Each job may be as large as one that is submitted alone.
        """
        outcomes = bulk.admit(body.jobs, idempotency_key=headers.idempotency_key)
        waits_s = [
            wait_s
            for each in outcomes
            if isinstance(each, errors.MillraceError) and (wait_s := retry_after_s(each))
        ]
        return Answer(
            body=_view(outcomes),
            headers={"Retry-After": str(max(waits_s))} if waits_s else {},
        )


def _view(outcomes: Sequence[Outcome]) -> BulkAnswer:
    return BulkAnswer(data=[_entry(place, each) for place, each in enumerate(outcomes)])


def _entry(place: int, outcome: Outcome) -> AcceptedJob | RefusedJob:
    if place % _VIEWS_AT_ONCE == 0:
        time.sleep(0)
    if isinstance(outcome, errors.MillraceError):
        problem = describe(outcome, _fields(place, outcome))
        wait_s = retry_after_s(outcome)
        return RefusedJob(status=problem.status, error=problem, retry_after_s=wait_s)
    return AcceptedJob(job=view_job(outcome.job, with_output=False), replayed=outcome.replayed)


def _fields(place: int, error: errors.MillraceError) -> list[errors.FieldError]:
    wrong = error.errors if isinstance(error, InvalidRequestError) else ()
    return [replace(each, pointer=f"/jobs/{place}{each.pointer}") for each in wrong]
