"""Commands that start something, and the one that examines what is there."""

import os
import sys

import click

from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation
from millrace.extras import needs, require
from millrace.up.errors import ProcessFailedError
from millrace.up.screen import Screen


@click.command(cls=JsonCommand)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many to start."
)
@click.option("--demo", is_flag=True, help="Ask a sample prompt once everything is ready.")
@click.option("--exit", "exit_", is_flag=True, help="Stop when ready (with --demo: answered).")
@click.option("--no-flower", is_flag=True, help="Leave Flower out.")
@pass_invocation
def up(invocation: Invocation, workers: int, demo: bool, exit_: bool, no_flower: bool) -> None:
    """Start everything on this machine and keep it alive until Ctrl-C.

    That is a Valkey of its own (unless MILLRACE_REDIS_URL is set), the HTTP front, workers and
    Flower. Models of MILLRACE_MODEL that are missing are imported first.
    """
    settings = invocation.settings
    with needs("local"):
        from millrace.up.stack import Plan, Stack, command_name
    plan = Plan(
        workers=workers,
        demo=demo,
        exit=exit_,
        flower=not no_flower,
        command=command_name(sys.argv[0]),
    )
    screen = Screen(as_json=invocation.as_json, console=invocation.display.out)
    with needs("local"):
        Stack(settings, invocation.environ, plan, screen).run()


@click.command(cls=JsonCommand)
@pass_invocation
def api(invocation: Invocation) -> None:
    """Run the HTTP front in the foreground."""
    from millrace.up.services import GUNICORN

    require("gunicorn", "gevent", "flask", "celery", "redis", extra="api")
    _become(invocation, GUNICORN)


@click.command(cls=JsonCommand)
@pass_invocation
def worker(invocation: Invocation) -> None:
    """Run a worker in the foreground."""
    from millrace.up.services import WORKER

    require("celery", "redis", "onnxruntime", "onnxruntime_genai", extra="worker,cpu")
    _become(invocation, WORKER)


@click.command(cls=JsonCommand)
@pass_invocation
def feeder(invocation: Invocation) -> None:
    """Run the feeder of batches in the foreground."""
    from millrace.up.services import FEEDER

    require("fsspec", "celery", "redis", extra="api")
    _become(invocation, FEEDER)


def _become(invocation: Invocation, arguments: tuple[str, ...]) -> None:
    """Replace this process, so that signals and the exit code are the server's own."""
    _ = invocation.settings  # a bad setting is named here, in one line
    environ = dict(invocation.environ)
    if invocation.as_json:
        environ["MILLRACE_LOG_FORMAT"] = "json"
    sys.stdout.flush()
    try:
        os.execve(sys.executable, [sys.executable, *arguments], environ)
    except OSError as error:
        raise ProcessFailedError(f"{sys.executable} could not be run: {error}") from error


COMMANDS = (up, api, worker, feeder)
