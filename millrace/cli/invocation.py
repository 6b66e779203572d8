"""One invocation of the command: its environment, its settings and how it was asked to speak."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from contract.errors import MillraceError, ServerUnreachableError
from contract.settings import Settings
from millrace.cli.display import Display
from millrace.client import Client


class Invocation:
    """What every command is given. ``as_json`` is set by the ``--json`` that each one has."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.as_json = False

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings in the environment. Raises SettingsError."""
        return Settings.from_mapping(self.environ)

    @functools.cached_property
    def display(self) -> Display:
        """Where the command writes."""
        return Display(as_json=self.as_json)

    def client(self, url: str | None) -> Client:
        """A client for ``url`` or MILLRACE_URL, which says on stderr when it tries again."""

        def tell(error: MillraceError, pause_s: float) -> None:
            if pause_s >= 1 and not isinstance(error, ServerUnreachableError):
                self.display.note(f"{error.detail}; trying again in {pause_s:.0f} s")

        return Client(url or self.settings.url, on_retry=tell)


pass_invocation = click.make_pass_decorator(Invocation)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the server."""
    return click.option("--url", metavar="URL", help="The server.  [default: MILLRACE_URL]")(
        command
    )


class JsonCommand(click.Command):
    """A command that takes ``--json``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_remember_json,
                help="Machine-readable answer on stdout, errors on stderr.",
            )
        )


class JsonGroup(click.Group):
    """A group whose commands all take ``--json``."""

    command_class = JsonCommand
    group_class = type


def _remember_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.find_object(Invocation).as_json = True  # type: ignore[union-attr]
