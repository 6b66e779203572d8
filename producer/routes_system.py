"""Models, workers and queues; health; the document of the API."""

import json
from collections.abc import Sequence
from typing import Any

from flask import Response, request
from pydantic import BaseModel

from contract import errors
from contract.errors import StoreUnavailableError
from contract.job import WorkerRecord
from producer.api import Answer, Api, Reply
from producer.front import Front
from producer.index_page import HEADERS, render_index
from producer.response_schemas import (
    Document,
    Health,
    ModelList,
    ModelView,
    QueueList,
    Readiness,
    WorkerList,
)
from producer.views import view_model, view_queue, view_worker

_STORE = (errors.StoreUnavailableError,)
_RETRY_AFTER_S = "2"


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
        return Answer(body=ModelList(data=_models(front, front.store.workers())))

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


def _models(front: Front, workers: Sequence[WorkerRecord]) -> list[ModelView]:
    versions = front.catalog.versions()
    return [
        view_model(
            version,
            versions=versions.get(version.name, ()),
            aliases=front.catalog.aliases(version.name),
            workers=workers,
        )
        for version in front.catalog.served()
    ]


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
            Reply(status=200, meaning="Redis takes jobs and a worker lives.", body=Readiness),
            Reply(
                status=503,
                meaning="Something is missing.",
                body=Readiness,
                headers={"Retry-After": "Seconds after which to ask again."},
            ),
        ),
    )
    def read_readiness() -> Answer:
        """Whether a job can be recorded and run now."""
        try:
            missing = [] if front.store.is_the_known_one() else ["jobs"]
            if front.store.refuses:
                missing.append("redis")
            if not front.store.workers():
                missing.append("worker")
        except StoreUnavailableError:
            missing = ["redis"]
        if missing:
            return Answer(
                status=503,
                body=Readiness(status="unavailable", missing=missing),
                headers={"Retry-After": _RETRY_AFTER_S},
            )
        return Answer(body=Readiness(status="ready", missing=[]))


def add_page(api: Api, front: Front, *, version: str) -> None:
    """Serve the page for people."""

    @api.operation(
        "GET",
        "/",
        tag="system",
        replies=(Reply(status=200, meaning="HTML.", media_type="text/html"),),
    )
    def read_index() -> Response:
        """A page that shows models, workers and queues.

        It is there without Redis too, and then says so.
        """
        lists: dict[str, Sequence[BaseModel]] = {}
        try:
            workers = front.store.workers()
            missing = "" if workers else "no worker lives; jobs are accepted and wait"
            if not front.store.is_the_known_one():
                missing = "Redis lost its jobs, so none are accepted; the log says store.replaced"
            elif front.store.refuses:
                missing = "Redis takes no writes, so no jobs; the log says why (store.refuses)"
            lists["workers"] = [view_worker(each) for each in workers]
            lists["queues"] = [view_queue(each) for each in front.store.queues()]
            counters = front.store.counters()
            dead = bool(front.store.dead_letters(limit=1, after=None).items)
        except StoreUnavailableError as error:
            workers, counters, dead, missing = [], {}, False, error.detail
        lists["models"] = _models(front, workers)
        page = render_index(
            version=version,
            url=request.root_url,
            missing=missing,
            dead=dead,
            lists=lists,
            counters=counters,
        )
        return Response(page, content_type="text/html; charset=utf-8", headers=HEADERS)


def add_documents(api: Api, *, document: dict[str, Any]) -> None:
    """Serve ``document``, which may still be filled after this call."""

    @api.operation(
        "GET",
        "/openapi.json",
        tag="system",
        replies=(Reply(status=200, meaning="OpenAPI 3.1.", body=Document),),
    )
    def read_openapi() -> Response:
        """This document."""
        return Response(json.dumps(document), content_type="application/json")
