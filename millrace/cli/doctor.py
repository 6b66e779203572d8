"""``millrace doctor``."""

import click
from rich.text import Text

from millrace.cli.failures import FAILED, OK
from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation
from millrace.doctor import Level, examine

_MARKS = {
    Level.OK: Text("ok", style="green"),
    Level.WARN: Text("warn", style="yellow"),
    Level.FAIL: Text("FAIL", style="bold red"),
}


@click.command(cls=JsonCommand)
@pass_invocation
def doctor(invocation: Invocation) -> int:
    """Say what is wrong on this machine; exits with 1 on a fault.

    Checks settings, packages, folders, ports, Redis, models, device and front.
    """
    display = invocation.display
    with display.working("looking at everything"):
        findings = list(examine(invocation.environ))
    failed = any(each.level is Level.FAIL for each in findings)
    if display.as_json:
        display.json({"ok": not failed, "findings": findings})
    else:
        rows = [(_MARKS[each.level], each.check, each.detail, each.advice) for each in findings]
        display.table(("", "check", "found", "what to do"), rows, empty="")
    return FAILED if failed else OK
