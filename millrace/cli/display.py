"""What is written where: answers on stdout, everything else on stderr."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_WIDE = 240  # columns for a reader that is no terminal, so that no cell is cut


class Display:
    """Tables and lines for people, or JSON for machines.

    rich leaves out colours and animation where there is no terminal or NO_COLOR is set.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    def json(self, value: Any) -> None:
        """One JSON value in one line on stdout."""
        print(json.dumps(value, default=_plain, ensure_ascii=False), flush=True)

    def listing(self, rows: Sequence[Any], *, has_more: bool = False) -> None:
        """A list on stdout, in the shape that the API gives its lists."""
        self.json({"object": "list", "data": list(rows), "has_more": has_more})

    def text(self, text: str) -> None:
        """A line on stdout, exactly as it is."""
        print(text, flush=True)

    def piece(self, text: str) -> None:
        """A part of a line on stdout, shown at once."""
        print(text, end="", flush=True)

    def note(self, text: str) -> None:
        """A line on stderr for people; nothing in JSON mode."""
        if not self.as_json:
            self.err.print(text, markup=False, highlight=False, soft_wrap=True)

    def fields(self, record: Mapping[str, Any]) -> None:
        """A record, one field per line, without those that say nothing."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in record.items():
            if value not in (None, "", (), [], {}):
                table.add_row(name, escape(cell(value)))
        self._print(table)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
        """Rows under column names, or the sentence ``empty`` on stderr where there are none."""
        if not rows:
            self.note(empty)
            return
        style = box.SIMPLE_HEAD if self.out.is_terminal else None
        table = Table(box=style, pad_edge=False, header_style="bold")
        for number, name in enumerate(columns):
            numeric = all(isinstance(row[number], int | float | None) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(each if isinstance(each, Text) else escape(cell(each)) for each in row))
        self._print(table)

    @contextmanager
    def working(self, words: str) -> Iterator[None]:
        """A spinner with words on a terminal, while the block runs."""
        if self.as_json or not self.err.is_terminal:
            yield
            return
        with self.err.status(escape(words)):
            yield

    @contextmanager
    def progress(self, words: str, *, of: str = "") -> Iterator[Callable[[int, int], None]]:
        """A bar with words on a terminal, while the block runs; tell it what is done, of what.

        With ``of``, the name of what is counted, also numbers and the rate.
        """
        shown = not self.as_json and self.err.is_terminal
        with Progress(
            TextColumn(escape(words)), BarColumn(), TaskProgressColumn(),
            *((MofNCompleteColumn(), _RateColumn(of)) if of else ()), TimeRemainingColumn(),
            console=self.err, transient=True, disable=not shown,
            redirect_stdout=False, redirect_stderr=False,
        ) as bar:  # fmt: skip
            task = bar.add_task("", total=None)
            yield lambda done, whole: bar.update(task, completed=done, total=whole)

    def _print(self, table: Table) -> None:
        if self.out.is_terminal:
            self.out.print(table)
            return
        with self.out.capture() as capture:
            self.out.print(table)
        for line in capture.get().splitlines():  # without the padding on the right
            print(line.rstrip(), flush=True)


class _RateColumn(ProgressColumn):
    """How many a second, lately."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self._of = of

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(f"{task.speed:.3g} {self._of}/s" if task.speed else "")


def cell(value: Any) -> str:
    """A value as a reader wants it in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value)
    return str(value)


def _plain(value: Any) -> dict[str, Any]:
    """What json does not know and this command prints: frozen records."""
    return dataclasses.asdict(value)


def _console(*, stderr: bool) -> Console:
    # What models and jobs say is shown as it is: no :emoji: codes, no guessed highlights.
    plainly: dict[str, Any] = {"stderr": stderr, "emoji": False, "highlight": False}
    console = Console(**plainly)
    return console if console.is_terminal else Console(**plainly, width=_WIDE)
