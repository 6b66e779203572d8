"""What `millrace up` says: few lines for people, or one JSON object per line for machines."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Screen:
    """Writes to one console. Spinners and bars appear on a terminal alone.

    A console that went away (a closed terminal) is no reason to fail: children must be stopped.
    """

    def __init__(self, *, as_json: bool, console: Console) -> None:
        self.as_json = as_json
        self._console = console

    def line(self, text: str = "", *, event: str = "note", **fields: Any) -> None:
        """A line; ``event`` and ``fields`` are its form for machines."""
        if self.as_json:
            record = {"event": event, **({"detail": text} if text else {}), **fields}
            with suppress(OSError):
                print(json.dumps(record, ensure_ascii=False), flush=True)
        else:
            self._print(escape(text))

    def done(self, text: str, took_s: float | None = None, *, event: str, **fields: Any) -> None:
        """A step that is done, and the time that it took."""
        if self.as_json:
            took_s = None if took_s is None else round(took_s, 3)
            self.line(text, event=event, took_s=took_s, **fields)
        else:
            took = "" if took_s is None else f"  [dim]{took_s:.1f} s[/dim]"
            self._print(f"[green]✓[/green] {escape(text)}{took}")

    def warn(self, text: str) -> None:
        """Something that a person should look at."""
        if self.as_json:
            self.line(text, event="warning")
        else:
            self._print(f"[yellow]![/yellow] {escape(text)}")

    def piece(self, text: str) -> None:
        """A part of a line, at once."""
        if self.as_json:
            self.line(text, event="text")
        else:
            self._print(escape(text), end="")

    @contextmanager
    def waiting(self, words: str) -> Iterator[Callable[[str], None]]:
        """A spinner with words while the block runs; the block may change the words."""
        if self.as_json or not self._console.is_terminal:
            yield lambda _words: None
            return
        with self._console.status(escape(words)) as status:
            yield lambda changed: status.update(escape(changed))

    @contextmanager
    def progress(self, words: str) -> Iterator[Callable[[str, float | None], None]]:
        """A bar for the block, which calls it with what it does and the fraction done (0 to 1,
        None when nobody knows).
        """
        if self.as_json or not self._console.is_terminal:
            yield self._step_lines(words)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(escape(words), total=None)

            def show(step: str, fraction: float | None) -> None:
                # Without a total the bar pulses: something goes on, for nobody knows how long.
                bar.update(
                    task,
                    description=escape(f"{words}: {step}"),
                    total=None if fraction is None else 1.0,
                    completed=fraction or 0.0,
                )

            yield show

    def _step_lines(self, words: str) -> Callable[[str, float | None], None]:
        """Where nothing can move, each step is a line."""
        last = ""

        def log(step: str, _fraction: float | None) -> None:
            nonlocal last
            if step != last:
                self.line(f"  {words}: {step}", event="progress")
            last = step

        return log

    def _print(self, markup: str, end: str = "\n") -> None:
        with suppress(OSError):
            self._console.print(markup, end=end, emoji=False, highlight=False, soft_wrap=True)
