"""Records as the JSON objects that the front sends."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from contract.job import Job, Page, QueueRecord, WorkerRecord
from model_store.manifest import ModelVersion
from producer.response_schemas import (
    JobError,
    JobList,
    JobView,
    ModelView,
    Output,
    Progress,
    QueueView,
    ResultView,
    Usage,
    WorkerModel,
    WorkerView,
)

JOBS_PATH = "/api/v1/jobs"
_OUTPUT: TypeAdapter[Output] = TypeAdapter(Output)


def job_path(job_id: str) -> str:
    """Where a job is read."""
    return f"{JOBS_PATH}/{job_id}"


def view_job(job: Job, *, with_output: bool = True) -> JobView:
    """A job's record; lists leave the output out, which may be large."""
    return JobView(
        id=job.id,
        status=job.state,
        model=job.model,
        model_version=job.model_version,
        task=job.task,
        priority=job.priority,
        created_at=job.created_ms / 1000,
        started_at=_seconds(job.started_ms),
        completed_at=_seconds(job.finished_ms),
        expires_at=_seconds(job.expires_ms),
        deadline_at=_seconds(job.deadline_ms),
        queue_position=job.queue_position,
        eta_s=None if job.eta_s is None else round(job.eta_s, 3),
        waiting_reason=job.waiting_reason,
        attempts=job.attempts,
        progress=None if job.progress is None else Progress(completion_tokens=job.progress),
        usage=_usage(job.usage),
        output=_output(job.output) if with_output else None,
        error=None if job.error is None else JobError(**job.error),
        result_url=f"{job_path(job.id)}/result",
        events_url=f"{job_path(job.id)}/events",
        worker=job.worker,
        cached=job.cached,
        dead=job.dead,
        metadata=dict(job.metadata),
    )


def view_result(job: Job) -> ResultView:
    """The result of a completed job."""
    return ResultView(
        id=job.id,
        model=job.model,
        model_version=job.model_version,
        task=job.task,
        completed_at=_seconds(job.finished_ms),
        output=_OUTPUT.validate_python(job.output),
        usage=_usage(job.usage),
        cached=job.cached,
        metadata=dict(job.metadata),
    )


def view_jobs(page: Page[Job]) -> JobList:
    """A page of jobs."""
    return JobList(
        data=[view_job(job, with_output=False) for job in page.items], has_more=page.has_more
    )


def view_worker(worker: WorkerRecord) -> WorkerView:
    """A live worker."""
    return WorkerView(
        id=worker.id,
        host=worker.host,
        pid=worker.pid,
        device=worker.device,
        models=[WorkerModel.model_validate(model) for model in worker.models],
        slots=worker.slots,
        running=worker.running,
        state=worker.state,
        started_at=worker.started_ms / 1000,
        last_seen=worker.last_seen_ms / 1000,
    )


def view_queue(queue: QueueRecord) -> QueueView:
    """A model version's queue."""
    return QueueView(
        id=queue.id,
        model=queue.model,
        model_version=queue.model_version,
        digest=queue.digest,
        pending=queue.pending,
        following=queue.following,
        retrying=queue.retrying,
        running=queue.running,
        hints=queue.hints,
        workers=queue.workers,
        slots=queue.slots,
        drain_rate=queue.drain_rate,
    )


def view_model(
    version: ModelVersion,
    *,
    versions: Iterable[int],
    aliases: Mapping[str, int],
    workers: Iterable[WorkerRecord],
) -> ModelView:
    """A model in production; ``workers`` are all live ones."""
    serving = [each for each in workers if _serves(each, version.digest)]
    return ModelView(
        id=version.name,
        version=version.version,
        versions=list(versions),
        aliases=dict(aliases),
        task=version.manifest.task,
        form=version.manifest.form,
        digest=version.digest,
        context_length=version.manifest.context_length,
        dimensions=version.manifest.dimensions,
        created_at=version.manifest.created_at,
        workers=len(serving),
    )


def retry_after_s(job: Job) -> int:
    """When to look at a job again: at its expected end, within 1 to 60 s; 0 when it has ended."""
    if job.finished:
        return 0
    return min(max(math.ceil(job.eta_s or 0), 1), 60)


def _serves(worker: WorkerRecord, digest: str) -> bool:
    return any(model.get("digest") == digest for model in worker.models)


def _seconds(time_ms: int | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


def _usage(usage: Mapping[str, int] | None) -> Usage | None:
    return None if usage is None else Usage(**usage)


def _output(output: Any) -> Output | None:
    return None if output is None else _OUTPUT.validate_python(output)
