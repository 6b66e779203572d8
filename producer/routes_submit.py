"""POST /api/v1/jobs."""

from typing import Any

from contract import errors
from contract.errors import StoreReplacedError, StoreUnavailableError
from contract.job import Job
from producer.api import Answer, Api, BodyChoice, Reply
from producer.events import wait_for_end
from producer.front import Front
from producer.preferences import read_wait
from producer.request_schemas import EmbedRequest, GenerateRequest, SubmitHeaders
from producer.response_schemas import JobView
from producer.views import JOBS_PATH, job_path, retry_after_s, view_job

_HEADERS = {
    "Location": "Where the job is read.",
    "Retry-After": "Seconds after which to look; 0 when the job has ended.",
    "Preference-Applied": "The wait that was taken from Prefer.",
    "Idempotent-Replayed": "`true` when the key was known: this is the job of the first request.",
}
_OPTIONAL = frozenset({"Preference-Applied", "Idempotent-Replayed"})
_WHY = (
    errors.UnknownModelError,
    errors.BodyTooLargeError,
    errors.EmptyPromptError,
    errors.PromptTooLongError,
    errors.IdempotencyConflictError,
    errors.JobGoneError,  # a known key whose job has passed its retention
    errors.QueueFullError,
    errors.NoWorkerError,
    errors.NotReplicatedError,
    errors.StoreUnavailableError,
    errors.StoreReplacedError,
)


def add_submit(api: Api, front: Front) -> None:
    """Serve submits."""

    @api.operation(
        "POST",
        JOBS_PATH,
        tag="jobs",
        headers=SubmitHeaders,
        body=BodyChoice(models=(GenerateRequest, EmbedRequest), choose=front.admission.choose),
        replies=(
            Reply(
                status=202,
                meaning="Accepted: the job is recorded and will be run.",
                body=JobView,
                headers=_HEADERS,
                optional=_OPTIONAL,
            ),
            Reply(
                status=200,
                meaning="The job ended within the wait that Prefer asked for.",
                body=JobView,
                headers=_HEADERS,
                optional=_OPTIONAL,
            ),
        ),
        errors=_WHY,
    )
    def submit_job(
        headers: SubmitHeaders, body: GenerateRequest | EmbedRequest, raw: Any
    ) -> Answer:
        """Submit a job.

        The job is pinned to the version that `model` means now. With `Prefer: wait=N` the answer
        comes when the job ends, or after N seconds.
        """
        submission = front.admission.admit(body, raw=raw, idempotency_key=headers.idempotency_key)
        wait = read_wait(None, headers)
        job = _wait(front, submission.job, wait.seconds)
        in_time = job.finished and wait.seconds is not None
        sent = {
            "Location": job_path(job.id),
            "Retry-After": str(retry_after_s(job)),
            **wait.headers,
        }
        if submission.replayed:
            sent["Idempotent-Replayed"] = "true"
        return Answer(status=200 if in_time else 202, body=view_job(job), headers=sent)


def _wait(front: Front, job: Job, seconds: float | None) -> Job:
    if job.finished or not seconds:
        return job
    try:
        return wait_for_end(front.store, front.hub, job.id, seconds)
    except StoreReplacedError:
        raise  # nothing will ever run it
    except StoreUnavailableError:
        return job  # it is recorded: the wait has failed, not the submit
