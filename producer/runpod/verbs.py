"""/v2/{model}/…: run, runsync, status, stream, cancel, retry, health."""

from collections.abc import Iterable
from typing import Any

from contract import errors
from contract.errors import NotDeadError, UnknownJobError
from contract.job import Job, JobState
from producer.api import Answer, Api, BodyChoice, Reply
from producer.events import wait_for_end
from producer.front import Front
from producer.openai.calls import submit_one
from producer.openai.chat import SUBMIT_ERRORS
from producer.request_schemas import MAX_WAIT_S, SubmitHeaders
from producer.runpod.problems import RUNPOD
from producer.runpod.schemas import (
    STATUS,
    EndpointHealth,
    JobCounts,
    Run,
    RunRequest,
    RunStream,
    RunsyncQuery,
    StreamPart,
    WorkerCounts,
    run_of,
)

PATH = "/v2/<model>"
_READING = (
    errors.UnknownModelError,
    errors.UnknownJobError,
    errors.JobGoneError,
    errors.StoreUnavailableError,
)
_BODY = BodyChoice(models=(RunRequest,), choose=lambda _: RunRequest)


def add_verbs(api: Api, front: Front) -> None:
    """Serve the verbs."""

    def submitted(model: str, headers: SubmitHeaders, body: RunRequest, raw: Any) -> Job:
        native = body.native(model)
        made = submit_one(front, native, raw=raw, idempotency_key=headers.idempotency_key)
        return made.job

    def find(model: str, job_id: str) -> Job:
        job = front.store.get(job_id)
        if job.model != front.catalog.resolve(model).name:
            raise UnknownJobError(f"no job of {model!r} has the id {job_id!r}")
        return job

    @api.operation(
        "POST",
        f"{PATH}/run",
        tag="runpod",
        dialect=RUNPOD,
        headers=SubmitHeaders,
        body=_BODY,
        replies=(Reply(status=200, meaning="The job is recorded.", body=Run),),
        errors=SUBMIT_ERRORS,
    )
    def run_job(model: str, headers: SubmitHeaders, body: RunRequest, raw: Any) -> Answer:
        """Submit a job."""
        return Answer(body=run_of(submitted(model, headers, body, raw)))

    @api.operation(
        "POST",
        f"{PATH}/runsync",
        tag="runpod",
        dialect=RUNPOD,
        query=RunsyncQuery,
        headers=SubmitHeaders,
        body=_BODY,
        replies=(Reply(status=200, meaning="The job, with its output if it ended.", body=Run),),
        errors=SUBMIT_ERRORS,
    )
    def run_job_sync(
        model: str, query: RunsyncQuery, headers: SubmitHeaders, body: RunRequest, raw: Any
    ) -> Answer:
        """Submit a job and wait for its end, for a minute at most; it goes on behind that."""
        job = submitted(model, headers, body, raw)
        wait_s = min(query.wait / 1000, MAX_WAIT_S)
        return Answer(body=run_of(wait_for_end(front.store, front.hub, job.id, wait_s)))

    def status_job(model: str, job_id: str) -> Answer:
        """Read a job."""
        return Answer(body=run_of(find(model, job_id)))

    def stream_job(model: str, job_id: str) -> Answer:
        """Read what a job has said since the last such call."""
        job = find(model, job_id)  # before its text: what comes behind it is for the next call
        parts = [StreamPart(output=text) for text in front.taken.take(job_id)]
        return Answer(body=RunStream(status=STATUS[job.state], stream=parts))

    for view, reply in (
        (status_job, Reply(status=200, meaning="As it is now.", body=Run)),
        (stream_job, Reply(status=200, meaning="What is new.", body=RunStream)),
    ):
        verb = view.__name__.removesuffix("_job")
        api.operation(
            "GET",
            f"{PATH}/{verb}/<job_id>",
            tag="runpod",
            dialect=RUNPOD,
            replies=(reply,),
            errors=_READING,
        )(view)

    @api.operation(
        "POST",
        f"{PATH}/cancel/<job_id>",
        tag="runpod",
        dialect=RUNPOD,
        replies=(Reply(status=200, meaning="As it is now.", body=Run),),
        errors=_READING,
    )
    def cancel_run(model: str, job_id: str) -> Answer:
        """Cancel a job; one that has ended stays as it is."""
        return Answer(body=run_of(front.cancel(find(model, job_id).id)))

    @api.operation(
        "POST",
        f"{PATH}/retry/<job_id>",
        tag="runpod",
        dialect=RUNPOD,
        replies=(Reply(status=200, meaning="It waits again.", body=Run),),
        errors=(*_READING, NotDeadError),
    )
    def retry_run(model: str, job_id: str) -> Answer:
        """Let a dead letter wait again."""
        return Answer(body=run_of(front.store.redrive(find(model, job_id).id)))

    @api.operation(
        "GET",
        f"{PATH}/health",
        tag="runpod",
        dialect=RUNPOD,
        replies=(Reply(status=200, meaning="How the model is served.", body=EndpointHealth),),
        errors=(errors.UnknownModelError, errors.StoreUnavailableError),
    )
    def read_endpoint_health(model: str) -> Answer:
        """Read how a model is served."""
        name = front.catalog.resolve(model).name
        queues = [each for each in front.store.queues() if each.model == name]
        counted = front.store.counters()
        serving = [
            each
            for each in front.store.workers()
            if any(served.get("model") == name for served in each.models)
        ]
        busy = _count(each.running for each in serving)
        return Answer(
            body=EndpointHealth(
                jobs=JobCounts(
                    completed=counted.get(f"jobs_{JobState.COMPLETED}", 0),
                    failed=counted.get(f"jobs_{JobState.FAILED}", 0),
                    inProgress=sum(each.running for each in queues),
                    inQueue=sum(each.pending + each.following for each in queues),
                    retried=sum(each.retrying for each in queues),
                ),
                workers=WorkerCounts(idle=len(serving) - busy, running=busy),
            )
        )


def _count(numbers: Iterable[int]) -> int:
    """How many are not 0."""
    return sum(number > 0 for number in numbers)
