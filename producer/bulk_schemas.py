"""What a bulk submit takes and answers: one pydantic model per JSON object."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from producer.problems import Problem
from producer.request_schemas import VISIBLE, Body, EmbedRequest, GenerateRequest, Headers
from producer.response_schemas import JobView, Sent

MOST_JOBS = 1000

#: A job is checked by itself, so that a wrong one is refused alone. Here any value is right.
AnyJob = Annotated[
    Any,
    PlainValidator(
        lambda value: value, json_schema_input_type=GenerateRequest | EmbedRequest | Any
    ),
    Field(description="As for a single submit. What is not is refused in its place."),
]


class BulkRequest(Body):
    """Jobs to submit in one call."""

    jobs: list[AnyJob] = Field(min_length=1, max_length=MOST_JOBS)


class BulkHeaders(Headers):
    """Headers of a bulk submit."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        pattern=VISIBLE,
        description=(
            "Each job is submitted under a key of its own, made of this one and the job's place in"
            " the list. So a repeated call gives the same jobs, for 24 hours; places whose body"
            " differs are refused with `idempotency_conflict`, and places that were refused or not"
            " there before are tried. Without it a repeated call makes new jobs. Single submits"
            " with the same key are other jobs."
        ),
    )


class AcceptedJob(Sent):
    """A job of a bulk submit that is recorded and will be run."""

    status: Literal[202] = 202
    job: JobView
    replayed: bool = Field(
        description="Whether the key was known: this is the job of an earlier call."
    )


class RefusedJob(Sent):
    """A job of a bulk submit that was not accepted."""

    status: int = Field(ge=400, le=599, description="What a submit of it alone would answer.")
    error: Problem = Field(description="Its pointers lead into the body, as /jobs/3/input.")
    retry_after_s: int | None = Field(
        description="Seconds after which it may be accepted; null when that does not help."
    )


class BulkAnswer(Sent):
    """What became of each job, in the order of the request."""

    object: Literal["list"] = "list"
    data: list[AcceptedJob | RefusedJob]
