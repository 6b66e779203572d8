"""The Flask application, from its collaborators."""

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Flask, Response

from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import BatchStore, FileStore, JobStore, ResponseStore, TakenText
from model_store.store import ModelStore
from producer.admission import Admission
from producer.api import Api
from producer.bulk import BulkAdmission
from producer.catalog import Catalog
from producer.front import Front
from producer.openai.batches import add_batches
from producer.openai.chat import add_chat
from producer.openai.completions import add_completions
from producer.openai.embeddings import add_embeddings
from producer.openai.files import add_files
from producer.openai.models import add_models
from producer.openai.problems import OPENAI
from producer.openai.responses import add_responses
from producer.openapi import build_document
from producer.problems import install_error_handlers
from producer.prompts import CountsTokens
from producer.routes_bulk import add_bulk
from producer.routes_events import add_events
from producer.routes_jobs import add_actions, add_jobs
from producer.routes_submit import add_submit
from producer.routes_system import add_documents, add_health, add_lists, add_page
from producer.runpod.problems import RUNPOD
from producer.runpod.verbs import add_verbs
from producer.storage import FileStorage
from producer.wakeups import EventHub


def create_app(
    *,
    settings: Settings,
    store: JobStore,
    models: ModelStore,
    hints: HintPublisher,
    counter: CountsTokens,
    hub: EventHub,
    sync: Callable[[int], None] = os.fsync,
) -> Flask:
    """A WSGI application that serves both APIs. It starts nothing by itself.

    ``sync`` is what makes uploads safe on disk (``producer.storage``).
    """
    app = Flask("producer", static_folder=None)
    # Twice the same slash, or one too many at the end, is another path: 404 and no redirect.
    app.url_map.merge_slashes = False
    dialects = {"/v1/": OPENAI, "/v2/": RUNPOD}
    install_error_handlers(app, max_backlog=settings.max_backlog, dialects=dialects)
    app.after_request(_add_common_headers)

    catalog = Catalog(models)
    front = Front(
        settings=settings,
        store=store,
        catalog=catalog,
        hints=hints,
        admission=Admission(catalog=catalog, store=store, hints=hints, counter=counter),
        hub=hub,
        files=FileStore(store.connection),
        batches=BatchStore(store.connection, lease_s=settings.lease_s),
        storage=FileStorage(settings.files_url, sync=sync),
        responses=ResponseStore(store.connection, ttl_s=settings.result_ttl_s),
        taken=TakenText(store),
    )
    api = Api(app, max_body_bytes=settings.max_body_bytes)
    document: dict[str, Any] = {}
    add_submit(api, front)
    bulk = BulkAdmission(
        admission=front.admission,
        store=store,
        counter=counter,
        max_job_bytes=settings.max_body_bytes,
    )
    add_bulk(api, bulk, max_body_bytes=settings.max_batch_bytes)
    add_jobs(api, front)
    add_events(api, front)
    add_actions(api, front)
    add_lists(api, front)
    add_models(api, front)
    add_chat(api, front)
    add_completions(api, front)
    add_embeddings(api, front)
    add_responses(api, front)
    add_files(api, front)
    add_batches(api, front)
    add_verbs(api, front)
    add_health(api, front)
    add_page(api, front, version=_version())
    add_documents(api, document=document)
    document.update(build_document(api.operations, version=_version()))
    return app


def _add_common_headers(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _version() -> str:
    try:
        return version("millrace")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
