"""Models, workers and queues; health; the document of the API."""

import json
from typing import Any

from flask import Response

from contract import errors
from contract.errors import StoreUnavailableError
from producer.api import Answer, Api, Reply
from producer.front import Front
from producer.response_schemas import (
    Document,
    Health,
    Index,
    ModelList,
    QueueList,
    Readiness,
    WorkerList,
)
from producer.views import view_model, view_queue, view_worker

_STORE = (errors.StoreUnavailableError,)
_LINKS = {
    "api": "/openapi.json",
    "jobs": "/api/v1/jobs",
    "models": "/api/v1/models",
    "workers": "/api/v1/workers",
    "queues": "/api/v1/queues",
    "ready": "/readyz",
}


def add_lists(api: Api, front: Front) -> None:
    """Serve what says who is there."""

    @api.operation(
        "GET",
        "/api/v1/models",
        tag="system",
        replies=(Reply(status=200, meaning="Every model in production.", body=ModelList),),
        errors=_STORE,
    )
    def list_models() -> Answer:
        """List the models that a job can name."""
        workers, versions = front.store.workers(), front.catalog.versions()
        data = [
            view_model(
                version,
                versions=versions.get(version.name, ()),
                aliases=front.catalog.aliases(version.name),
                workers=workers,
            )
            for version in front.catalog.served()
        ]
        return Answer(body=ModelList(data=data))

    @api.operation(
        "GET",
        "/api/v1/workers",
        tag="system",
        replies=(Reply(status=200, meaning="Every live worker.", body=WorkerList),),
        errors=_STORE,
    )
    def list_workers() -> Answer:
        """List the live workers."""
        return Answer(body=WorkerList(data=[view_worker(each) for each in front.store.workers()]))

    @api.operation(
        "GET",
        "/api/v1/queues",
        tag="system",
        replies=(Reply(status=200, meaning="Every queue.", body=QueueList),),
        errors=_STORE,
    )
    def list_queues() -> Answer:
        """List the queues, one for each model version."""
        return Answer(body=QueueList(data=[view_queue(each) for each in front.store.queues()]))


def add_health(api: Api, front: Front) -> None:
    """Serve what a supervisor asks."""

    for path, name in (("/healthz", "read_health"), ("/health", "read_health_alias")):

        def read_health() -> Answer:
            """Whether the process lives."""
            return Answer(body=Health())

        read_health.__name__ = name
        alive = Reply(status=200, meaning="It does.", body=Health)
        api.operation("GET", path, tag="health", replies=(alive,))(read_health)

    @api.operation(
        "GET",
        "/readyz",
        tag="health",
        replies=(
            Reply(status=200, meaning="Redis answers and a worker lives.", body=Readiness),
            Reply(status=503, meaning="Something is missing.", body=Readiness),
        ),
    )
    def read_readiness() -> Answer:
        """Whether a job can be recorded and run now."""
        try:
            missing = [] if front.store.workers() else ["worker"]
        except StoreUnavailableError:
            missing = ["redis"]
        if missing:
            return Answer(status=503, body=Readiness(status="unavailable", missing=missing))
        return Answer(body=Readiness(status="ready", missing=[]))


def add_documents(api: Api, *, version: str, document: dict[str, Any]) -> None:
    """Serve the index and ``document``, which may still be filled after this call."""

    @api.operation(
        "GET",
        "/",
        tag="system",
        replies=(Reply(status=200, meaning="Links.", body=Index),),
    )
    def read_index() -> Answer:
        """What there is."""
        return Answer(body=Index(version=version, links=_LINKS))

    @api.operation(
        "GET",
        "/openapi.json",
        tag="system",
        replies=(Reply(status=200, meaning="OpenAPI 3.1.", body=Document),),
    )
    def read_openapi() -> Response:
        """This document."""
        return Response(json.dumps(document), content_type="application/json")
