"""The root of the command: its groups, its version, and the one place where failures end."""

import itertools
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

import click
import structlog

from contract.errors import MillraceError
from millrace.cli import audit, batch, cluster, doctor, jobs, models, serve, submit
from millrace.cli.failures import (
    EXIT_CODES,
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    exit_code,
    tell,
    tell_plain,
)
from millrace.cli.invocation import Invocation, JsonGroup, pass_invocation


@click.group(
    cls=JsonGroup,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.option("--json", "as_json", is_flag=True, help="As each command's --json.")
@pass_invocation
@click.pass_context
def root(context: click.Context, invocation: Invocation, version: bool, as_json: bool) -> None:
    """Language models behind an HTTP queue.

    `millrace up` starts everything on this machine; `millrace submit "..."` asks it.
    """
    invocation.as_json = as_json
    if version:
        number = installed_version()
        if as_json:
            invocation.display.json({"version": number})
        else:
            invocation.display.text(f"millrace {number}")
        context.exit(OK)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(OK)
    _quiet_logs()


for _command in (
    submit.submit,
    batch.batch,
    *jobs.COMMANDS,
    *cluster.COMMANDS,
    models.models,
    *serve.COMMANDS,
    doctor.doctor,
    audit.audit,
):
    root.add_command(_command)


def installed_version() -> str:
    """The version of the installed distribution; a bare checkout has none."""
    try:
        return metadata.version("millrace")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def run(args: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line and return its exit code. Every failure is told in one line."""
    as_json = "--json" in itertools.takewhile(lambda each: each != "--", args)
    try:
        code = root.main(list(args), "millrace", standalone_mode=False, obj=Invocation(environ))
    except MillraceError as error:
        tell(error, as_json=as_json)
        return exit_code(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        hint = ""
        if isinstance(error, click.UsageError) and error.ctx is not None:
            hint = f" (see `{error.ctx.command_path} --help`)"
        tell_plain("usage", error.format_message() + hint, as_json=as_json)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `head` does; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        tell_plain("system_error", str(error), as_json=as_json)
        return FAILED
    return code if isinstance(code, int) else OK


def _quiet_logs() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
