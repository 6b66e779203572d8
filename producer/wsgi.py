"""Composition root of the front: the environment becomes an application, once per process.

``gunicorn -c python:producer.gunicorn_config producer.wsgi:app`` serves it. Nothing is made when
this module is imported: threads and connections belong to the process that serves, after its
fork and after gevent has patched it.
"""

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from gevent import get_hub

from contract.queues import HintPublisher
from contract.reaper import Reaper
from contract.settings import Settings
from contract.store import JobStore, ReapStore
from model_store.store import ModelStore
from producer.app import create_app
from producer.token_counter import TokenCounter
from producer.wakeups import EventHub


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What one process of the front runs."""

    flask: Flask
    hub: EventHub
    counter: TokenCounter
    reaper: Reaper

    def close(self) -> None:
        """End its streams and threads."""
        self.hub.close()
        self.counter.close()
        self.reaper.stop()


def _sync_in_a_thread(descriptor: int) -> None:
    """As os.fsync, which would hold up every other request of the process for as long."""
    get_hub().threadpool.apply(os.fsync, (descriptor,))


def open_process(
    make_hints: Callable[[Settings], HintPublisher] = HintPublisher,
    connect: Callable[[Settings], JobStore] = JobStore.connect,
) -> Process:
    """What this process runs, its reaper started. Raises SettingsError."""
    settings = Settings.from_mapping(os.environ)
    store = connect(settings)
    hints = make_hints(settings)
    counter = TokenCounter()
    hub = EventHub(store)
    flask = create_app(
        settings=settings,
        store=store,
        models=ModelStore(settings.models_dir),
        hints=hints,
        counter=counter,
        hub=hub,
        sync=_sync_in_a_thread,
    )
    reaper = Reaper(ReapStore(store.connection, settings), hints)
    reaper.start()
    return Process(flask=flask, hub=hub, counter=counter, reaper=reaper)


@functools.cache
def process() -> Process:
    """The one of this process. Raises SettingsError."""
    return open_process()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI callable."""
    return process().flask(environ, start_response)
