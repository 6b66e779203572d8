"""The real parts that several modules here test: the store, models, and the generation engine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from model_store.export.llama import Llama
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.attempts import attempts
from tests.support.generation import open_tiny
from tests.support.waiting import eventually
from workers.engine.generation import GenerationEngine


@pytest.fixture
def store(connection: Connection, settings: Settings) -> JobStore:
    """The producers' side of the clean store."""
    return JobStore(connection, settings)


@pytest.fixture
def worker(connection: Connection, settings: Settings) -> AttemptStore:
    """The side of the one worker, ``w1``."""
    return attempts(connection, settings)


@pytest.fixture
def reaper(connection: Connection, settings: Settings) -> ReapStore:
    """A reaper whose patience is short."""
    return ReapStore(connection, replace(settings, lease_s=0.5, result_ttl_s=60))


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    """An empty store of models."""
    return ModelStore(tmp_path / "models")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    """The tiny llama, in a store of its own; nobody changes it."""
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def llama(tiny: ModelVersion) -> Llama:
    """The weights that ``tiny`` was written from."""
    return random_llama(Tokenizer.from_file(str(tiny.path / TOKENIZER_FILE)))


@pytest.fixture(scope="module")
def shared_engine(tiny: ModelVersion) -> Iterator[GenerationEngine]:
    """One generation engine for the tests of a module; ask for ``engine``."""
    engine = open_tiny(tiny)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: GenerationEngine) -> Iterator[GenerationEngine]:
    """An idle engine; the test must leave nothing behind in it."""
    yield shared_engine
    eventually(lambda: shared_engine.running == shared_engine.pending == 0)
    assert shared_engine.failure is None
