"""What the fuzz tests share: how much they try, and the process that reads files for them."""

from collections.abc import Iterator

import pytest

from tests.support.fuzz_reader import FuzzReader
from tests.support.fuzzing import Fuzzer


@pytest.fixture(scope="module")
def reader() -> Iterator[FuzzReader]:
    """Reads model files in a process of its own."""
    with FuzzReader() as reader:
        yield reader


@pytest.fixture(scope="session")
def fuzzer(request: pytest.FixtureRequest) -> Fuzzer:
    """Always the same inputs, or many new ones in a full run."""
    return Fuzzer.of(request.config)
