"""Commands about who serves what."""

import time
from collections.abc import Mapping
from typing import Any

import click

from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation, url_option

_QUEUE_COLUMNS = (
    *("model", "version", "waiting", "running", "retrying"),
    *("sharing", "workers", "slots", "finishing"),
)


@click.command(cls=JsonCommand)
@url_option
@pass_invocation
def workers(invocation: Invocation, url: str | None) -> None:
    """List the live workers."""
    with invocation.client(url) as client:
        page = client.workers()
    if invocation.as_json:
        invocation.display.listing(page.items, has_more=page.has_more)
        return
    now = time.time()
    rows = [
        (
            each.id,
            each.host,
            each.pid,
            each.device,
            ", ".join(_model(model) for model in each.models),
            f"{each.running}/{each.slots}",
            each.state,
            "" if each.last_seen is None else f"{max(0.0, now - each.last_seen):.0f} s ago",
        )
        for each in page
    ]
    columns = ("id", "host", "pid", "device", "models", "running", "state", "last seen")
    invocation.display.table(
        columns, rows, empty="no worker is alive: `millrace worker` starts one"
    )


@click.command(cls=JsonCommand)
@url_option
@pass_invocation
def queues(invocation: Invocation, url: str | None) -> None:
    """List the queues, one per model version."""
    with invocation.client(url) as client:
        page = client.queues()
    if invocation.as_json:
        invocation.display.listing(page.items, has_more=page.has_more)
        return
    rows = [
        (
            each.model,
            each.model_version,
            each.pending,
            each.running,
            each.retrying,
            each.following,
            each.workers,
            each.slots,
            "" if each.drain_rate is None else f"{each.drain_rate:.2f}/s",
        )
        for each in page
    ]
    invocation.display.table(_QUEUE_COLUMNS, rows, empty="no queue yet: nothing was submitted")


def _model(row: Any) -> str:
    if not isinstance(row, Mapping):
        return str(row)
    name = row.get("model") or row.get("name") or row.get("id")
    version = row.get("version") or row.get("model_version")
    return f"{name}:{version}" if version else str(name)


COMMANDS = (workers, queues)
