"""Reading jobs, one or many, and acting on one."""

import re

from contract import errors
from contract.errors import NoResultError, UnknownJobError
from contract.job import Job, JobState
from producer.api import Answer, Api, Reply
from producer.events import wait_for_end
from producer.front import Front
from producer.preferences import Wait, read_wait
from producer.request_schemas import JobsQuery, PageQuery, PreferHeaders, WaitQuery
from producer.response_schemas import JobList, JobView, ResultView
from producer.views import (
    JOBS_PATH,
    job_path,
    retry_after_s,
    view_job,
    view_jobs,
    view_result,
)

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STORE = (errors.StoreUnavailableError, errors.StoreReplacedError)
_READING = (errors.UnknownJobError, errors.JobGoneError, *_STORE)
_APPLIED = {"Preference-Applied": "The wait that was taken from Prefer."}
_LATER = {"Retry-After": "Seconds after which to look.", **_APPLIED}
_OPTIONAL = frozenset(_APPLIED)


def require_id(job_id: str) -> str:
    """A job id that can be one. Raises UnknownJobError."""
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJobError("no job has this id: it is not the id of a job")
    return job_id


def add_jobs(api: Api, front: Front) -> None:
    """Serve what reads jobs."""

    def read(job_id: str, wait: Wait) -> Job:
        return wait_for_end(front.store, front.hub, require_id(job_id), wait.seconds or 0.0)

    @api.operation(
        "GET",
        f"{JOBS_PATH}/<job_id>",
        tag="jobs",
        query=WaitQuery,
        headers=PreferHeaders,
        replies=(
            Reply(
                status=200,
                meaning="The job as it is now.",
                body=JobView,
                headers=_APPLIED,
                optional=_OPTIONAL,
            ),
        ),
        errors=_READING,
    )
    def read_job(job_id: str, query: WaitQuery, headers: PreferHeaders) -> Answer:
        """Read a job, or wait for its end and read it then."""
        wait = read_wait(query, headers)
        return Answer(body=view_job(read(job_id, wait)), headers=wait.headers)

    @api.operation(
        "GET",
        f"{JOBS_PATH}/<job_id>/result",
        tag="jobs",
        query=WaitQuery,
        headers=PreferHeaders,
        replies=(
            Reply(
                status=200,
                meaning="The job is completed; this is what it gave.",
                body=ResultView,
                headers=_APPLIED,
                optional=_OPTIONAL,
            ),
            Reply(
                status=202,
                meaning="The job has not ended yet.",
                body=JobView,
                headers=_LATER,
                optional=_OPTIONAL,
            ),
        ),
        errors=(*_READING, errors.NoResultError),
    )
    def read_result(job_id: str, query: WaitQuery, headers: PreferHeaders) -> Answer:
        """Read the result of a job.

        410 when there is none and never will be, or when its record has gone.
        """
        wait = read_wait(query, headers)
        job = read(job_id, wait)
        if not job.finished:
            later = {"Retry-After": str(retry_after_s(job)), **wait.headers}
            return Answer(status=202, body=view_job(job), headers=later)
        if job.state is not JobState.COMPLETED:
            raise NoResultError(f"job {job.id} is {job.state}{_cause(job)}; it has no result")
        return Answer(body=view_result(job), headers=wait.headers)

    @api.operation(
        "GET",
        JOBS_PATH,
        tag="jobs",
        query=JobsQuery,
        replies=(Reply(status=200, meaning="A page of jobs, newest first.", body=JobList),),
        errors=(errors.UnknownJobError, *_STORE),
    )
    def list_jobs(query: JobsQuery) -> Answer:
        """List jobs, newest first."""
        page = front.store.list_jobs(
            state=query.status, model=query.model, limit=query.limit, after=query.after
        )
        return Answer(body=view_jobs(page))

    @api.operation(
        "GET",
        "/api/v1/dead",
        tag="jobs",
        query=PageQuery,
        replies=(Reply(status=200, meaning="A page of dead letters.", body=JobList),),
        errors=(errors.UnknownJobError, *_STORE),
    )
    def list_dead_letters(query: PageQuery) -> Answer:
        """List dead letters: jobs that were given up, with the cause of each."""
        return Answer(
            body=view_jobs(front.store.dead_letters(limit=query.limit, after=query.after))
        )


def add_actions(api: Api, front: Front) -> None:
    """Serve what changes a job."""
    acted = Reply(
        status=202,
        meaning="Done; the job as it is now.",
        body=JobView,
        headers={"Location": "Where the job is read."},
    )

    @api.operation(
        "POST",
        f"{JOBS_PATH}/<job_id>/cancel",
        tag="jobs",
        replies=(acted,),
        errors=(*_READING, errors.NotReplicatedError),
    )
    def cancel_job(job_id: str) -> Answer:
        """Cancel a job.

        A job that has ended stays as it is. A running one stops within a fraction of a second.
        """
        job = front.cancel(require_id(job_id))
        return Answer(status=202, body=view_job(job), headers={"Location": job_path(job.id)})

    @api.operation(
        "POST",
        f"{JOBS_PATH}/<job_id>/redrive",
        tag="jobs",
        replies=(acted,),
        errors=(*_READING, errors.NotDeadError),
    )
    def redrive_job(job_id: str) -> Answer:
        """Queue a dead letter again."""
        job = front.store.redrive(require_id(job_id))
        front.hints.publish(job.queue)
        return Answer(status=202, body=view_job(job), headers={"Location": job_path(job.id)})


def _cause(job: Job) -> str:
    if job.error is None:
        return ""
    return f" ({job.error.get('code')}: {job.error.get('message')})"
