"""From a valid request to a recorded job: resolve, check, record."""

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import structlog

from contract.errors import FieldError, InvalidRequestError
from contract.fingerprint import fingerprint, is_deterministic
from contract.job import NewJob, Submission
from contract.queues import HintPublisher, queue_name
from contract.store import JobStore
from model_store.manifest import ModelVersion
from producer.catalog import Catalog
from producer.prompts import CountsTokens, check_length, stored_input
from producer.request_schemas import EmbedRequest, GenerateRequest

_log = structlog.get_logger()


def new_job_id() -> str:
    """An id that cannot be guessed: 96 random bits."""
    return f"job_{secrets.token_hex(12)}"


class Admission:
    """Decides whether a request becomes a job, and records it."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: JobStore,
        hints: HintPublisher,
        counter: CountsTokens,
        new_id: Callable[[], str] = new_job_id,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._hints = hints
        self._counter = counter
        self._new_id = new_id

    def choose(self, raw: Any) -> type[GenerateRequest] | type[EmbedRequest]:
        """The model of a body: by its task, or else by the task of the model that it names.

        Raises:
            UnknownModelError: no task is given and the model is not known.
        """
        if not isinstance(raw, dict):
            return GenerateRequest
        task = raw.get("task")
        if task is None and isinstance(raw.get("model"), str):
            task = self._catalog.resolve(raw["model"]).manifest.task
        return EmbedRequest if task == "embed" else GenerateRequest

    def admit(
        self, request: GenerateRequest | EmbedRequest, *, raw: Any, idempotency_key: str | None
    ) -> Submission:
        """Record the job that ``request`` asks for, which tells the workers.

        ``raw`` is the body as it was sent: two bodies are the same for an idempotency key when
        their JSON values are.

        Raises:
            UnknownModelError, PromptTooLongError, InvalidRequestError: the request is at fault.
            QueueFullError, NoWorkerError, StoreUnavailableError: it may succeed later.
            IdempotencyConflictError: the key was used with another body.
        """
        new = self.prepare(request, raw=raw, idempotency_key=idempotency_key)
        submission = self._store.submit(new)
        if not submission.replayed:
            _log.info(
                "job.submitted",
                job=submission.job.id,
                model=f"{new.model}:{new.model_version}",
                task=new.task,
                cached=submission.job.cached,
            )
        return submission

    def prepare(
        self,
        request: GenerateRequest | EmbedRequest,
        *,
        raw: Any,
        idempotency_key: str | None = None,
        counter: CountsTokens | None = None,
    ) -> NewJob:
        """The job that ``request`` asks for, which no store knows of yet; see :meth:`admit`.

        ``counter`` is another than the usual one.

        Raises:
            UnknownModelError, PromptTooLongError, InvalidRequestError: the request is at fault.
        """
        version = self._catalog.resolve(request.model)
        _check_task(request, version)
        stored = stored_input(request, version.manifest)
        check_length(stored, version, counter or self._counter)
        task = version.manifest.task
        parameters = request.parameters.model_dump()
        shared = request.cache and is_deterministic(task, parameters)
        queue = queue_name(version.name, version.digest)
        return NewJob(
            id=self._new_id(),
            queue=queue,
            model=version.name,
            model_version=version.version,
            digest=version.digest,
            task=task,
            input=stored,
            parameters=parameters,
            body_sha256=_body_sha256(raw),
            hint=self._hints.message(queue),
            priority=request.priority,
            deadline_s=request.deadline_s,
            metadata=request.metadata,
            fingerprint=fingerprint(version.digest, task, stored, parameters) if shared else None,
            idempotency_key=idempotency_key,
        )


def _check_task(request: GenerateRequest | EmbedRequest, version: ModelVersion) -> None:
    asked = "embed" if isinstance(request, EmbedRequest) else "generate"
    able = version.manifest.task
    if asked != able:
        raise InvalidRequestError(
            f"{version.name} is a model for {able!r}, not for {asked!r}",
            [FieldError(pointer="/task", detail=f"must be {able!r} for this model")],
        )


def _body_sha256(raw: Any) -> str:
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
