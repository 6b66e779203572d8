"""One row for each fault: what clients were promised, and what they got."""

from collections.abc import Iterable, Sequence
from typing import Any

from tests.support.ledger import Account

PROPERTY = "fault"
STATES = ("completed", "failed", "cancelled", "expired", "dead")
HEAD = (
    "fault", "accepted", *STATES, "lost", "twice", "re-run", "gap p50", "p99", "max s", "note",
)  # fmt: skip


def row_of(fault: str, account: Account, note: str) -> dict[str, Any]:
    """A row as plain values, which a test's report can carry."""
    unknown = set(account.states) - set(STATES)
    assert not unknown, unknown
    cells = [fault, account.accepted, *(account.states[state] for state in STATES)]
    cells += [account.lost, account.finished_twice, account.rerun]
    cells += [f"{gap:.2f}" if account.gaps_s else "" for gap in account.gap_s]
    return {name: str(cell) for name, cell in zip(HEAD, [*cells, note], strict=True)}


def as_markdown(rows: Iterable[dict[str, str]]) -> list[str]:
    """The lines of a table that is readable on a terminal too."""
    cells: list[Sequence[str]] = [HEAD, *([row[name] for name in HEAD] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(HEAD))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
