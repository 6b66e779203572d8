"""What every fault test uses: its length, and its row in the table that ends the run."""

from collections.abc import Callable

import pytest

from tests.support.fault_table import PROPERTY, row_of
from tests.support.ledger import Account

Row = Callable[..., None]


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether faults run at their full length (``--full``), or as the short cut."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    """Call it with the fault's name, its account and perhaps a note, before the assertions."""

    def record(fault: str, account: Account, note: str = "") -> None:
        record_property(PROPERTY, row_of(fault, account, note))

    return record
