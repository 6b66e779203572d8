"""Fronts, clients and a worker that is moved by hand."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient

from contract.settings import Settings
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from tests.support.fronts import FrontServer, LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.redis_server import RedisServer

MakeFront = Callable[..., LocalFront]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A store with a small generator, `tiny`, and a small embedder, `tiny-embed`."""
    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_tiny_llama(store)
    write_tiny_bert(store)
    return store


@pytest.fixture(scope="session")
def tiny(models: ModelStore) -> ModelVersion:
    return models.resolve("tiny")


@pytest.fixture
def make_front(
    redis_server: RedisServer, models: ModelStore, tmp_path: Path
) -> Iterator[MakeFront]:
    """Makes a front in this process; settings are given as in the environment."""
    made: list[LocalFront] = []

    def make(**environ: str) -> LocalFront:
        given = {f"MILLRACE_{name.upper()}": value for name, value in environ.items()}
        base = {
            "MILLRACE_REDIS_URL": redis_server.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_FILES_URL": str(tmp_path / "files"),
        }
        made.append(LocalFront(Settings.from_mapping({**base, **given})))
        return made[-1]

    yield make
    for front in made:
        front.close()


@pytest.fixture
def front(make_front: MakeFront) -> LocalFront:
    return make_front()


@pytest.fixture
def client(front: LocalFront) -> FlaskClient:
    return front.app.test_client()


@pytest.fixture
def worker(settings: Settings, tiny: ModelVersion) -> Iterator[HandWorker]:
    with HandWorker(settings, tiny) as worker:
        yield worker


@pytest.fixture
def serving(worker: HandWorker) -> Iterator[None]:
    """A worker that answers whatever comes."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.serve, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def server(
    shared_redis: RedisServer, models: ModelStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FrontServer]:
    """The real server on the shared Valkey."""
    folder = tmp_path_factory.mktemp("front")
    environ = {
        "MILLRACE_REDIS_URL": shared_redis.url,
        "MILLRACE_MODELS_DIR": str(models.root),
        "MILLRACE_FILES_URL": str(folder / "files"),
    }
    server = FrontServer(environ, folder / "front.log").start()
    yield server
    server.stop()


@pytest.fixture
def http(server: FrontServer, redis_server: RedisServer) -> Iterator[httpx.Client]:
    """A client of the real server, with nothing in Valkey."""
    with server.client() as client:
        yield client
