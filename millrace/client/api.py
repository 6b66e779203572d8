"""The client: what can be asked of a Millrace."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from contract.errors import InvalidRequestError, MillraceError
from millrace.client.batches import Batches
from millrace.client.bulk import merged, submit_all
from millrace.client.feed import job_path
from millrace.client.handle import JobHandle
from millrace.client.records import Job, Model, Page, Queue, Row, Worker, parse, parse_page
from millrace.client.retries import RetryPolicy
from millrace.client.transport import RetryListener, Transport

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_MODELS = {"generate": "smollm2", "embed": "minilm"}

Input = str | Sequence[str] | Sequence[Mapping[str, str]]


class Client:
    """A Millrace server. Safe to share between threads; close it, or use it in ``with``.

    ``timeout_s`` bounds one request. Connection failures, 429 and 503 are tried again by
    ``policy``; that repeats nothing, as each submit carries an ``Idempotency-Key``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        policy: RetryPolicy | None = None,
        on_retry: RetryListener | None = None,
        make_key: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._transport = Transport(
            url or DEFAULT_URL,
            timeout_s=timeout_s,
            policy=policy or RetryPolicy(),
            on_retry=on_retry,
        )
        self._make_key = make_key
        self.batches = Batches(self._transport, make_key)
        self._defaults: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def submit(
        self,
        input: Input,
        *,
        model: str | None = None,
        task: str | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        cache: bool | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> JobHandle:
        """Queue a job; it is recorded when this returns.

        ``input`` is a prompt or chat messages (``generate``), a text or a list of them
        (``embed``). ``parameters`` are the task's: max_tokens, temperature, top_p, top_k, seed,
        stop. What is None is left to the server. Without ``task``, the one that the model is
        for. Without ``model``, the server's only one for the task, or smollm2 (minilm to embed).

        Raises:
            InvalidRequestError, UnknownModelError, QueueFullError, StoreUnavailableError, …
        """
        wanted = {
            "model": model or self._default_model(task or "generate"),
            "task": task,
            "input": input if isinstance(input, str) else list(input),
            "parameters": _said(parameters),
            "priority": priority,
            "deadline_s": deadline_s,
            "metadata": dict(metadata) if metadata else None,
            "cache": cache,
        }
        answer = self._transport.call(
            "POST",
            "/api/v1/jobs",
            body=_said(wanted),
            headers={"Idempotency-Key": idempotency_key or self._make_key()},
        )
        return JobHandle(self._transport, parse(Job, answer))

    def submit_many(
        self,
        jobs: Iterable[str | Mapping[str, Any]],
        *,
        model: str | None = None,
        task: str | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        cache: bool | None = None,
        idempotency_key: str | None = None,
        on_progress: Callable[[int], None] = lambda _done: None,
        **parameters: Any,
    ) -> list[JobHandle | MillraceError]:
        """Queue many jobs, up to 1,000 in one call; what became of each, in the same order.

        A job is a prompt, or a mapping with the fields of the HTTP API: ``input``, ``model``,
        ``parameters``, … What is given by name, as for :meth:`submit`, is meant for all jobs that
        do not say it themselves. A job that is refused for now (429, 503) is tried again as long
        as others of its call are accepted; what stays refused is its error in the list. The same
        ``idempotency_key`` with the same jobs gives the same jobs again, also after an interrupt.
        ``on_progress`` is told how many jobs have been settled after each call.

        Raises:
            MillraceError: the first call failed as a whole, so no job was accepted. When a later
                one does, that is the error of its jobs and of all behind them.
        """
        wanted = {
            "task": task,
            "parameters": _said(parameters),
            "priority": priority,
            "deadline_s": deadline_s,
            "metadata": dict(metadata) if metadata else None,
            "cache": cache,
        }
        outcomes = submit_all(
            self._transport,
            (self._body(job, model, _said(wanted)) for job in jobs),
            idempotency_key or self._make_key(),
            on_progress,
        )
        return [
            JobHandle(self._transport, each, whole=False) if isinstance(each, Job) else each
            for each in outcomes
        ]

    def _body(
        self, job: str | Mapping[str, Any], model: str | None, defaults: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        body = merged(job, defaults)
        return {"model": model or self._default_model(body.get("task") or "generate"), **body}

    def job(self, job_id: str) -> JobHandle:
        """A job by its id. Raises UnknownJobError or JobGoneError."""
        answer = self._transport.call("GET", job_path(job_id))
        return JobHandle(self._transport, parse(Job, answer))

    def jobs(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page[Job]:
        """Jobs, newest first; ``after`` is the id that the page begins behind."""
        params = {"status": status, "model": model, "limit": limit, "after": after}
        return self._list(Job, "/api/v1/jobs", params)

    def dead(self, *, limit: int | None = None, after: str | None = None) -> Page[Job]:
        """Dead letters: jobs given up after repeated failures, kept with their cause."""
        return self._list(Job, "/api/v1/dead", {"limit": limit, "after": after})

    def redrive(self, job_id: str) -> JobHandle:
        """Queue a dead letter again. Raises NotDeadError."""
        answer = self._transport.call("POST", f"{job_path(job_id)}/redrive", repeatable=False)
        return JobHandle(self._transport, parse(Job, answer))

    def workers(self) -> Page[Worker]:
        """The live workers."""
        return self._list(Worker, "/api/v1/workers")

    def queues(self) -> Page[Queue]:
        """The queues, one per model version."""
        return self._list(Queue, "/api/v1/queues")

    def models(self) -> Page[Model]:
        """The models that can be asked for."""
        return self._list(Model, "/api/v1/models")

    def _list(
        self, kind: Callable[..., Row], path: str, params: Mapping[str, Any] | None = None
    ) -> Page[Row]:
        return parse_page(kind, self._transport.call("GET", path, params=params))

    def _default_model(self, task: str) -> str:
        if task not in self._defaults:
            fitting = sorted({each.id for each in self.models() if each.task == task})
            usual = DEFAULT_MODELS.get(task, "")
            if len(fitting) > 1 and usual not in fitting:
                known = ", ".join(fitting)
                raise InvalidRequestError(f"several models can {task}: name one of {known}")
            self._defaults[task] = fitting[0] if len(fitting) == 1 else usual
        return self._defaults[task]


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are left to the server."""
    return {name: value for name, value in fields.items() if value is not None}
