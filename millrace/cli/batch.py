"""``millrace batch``: files of calls, answered while nobody waits."""

import json
import time
from pathlib import Path

import click

from contract.errors import InvalidRequestError
from millrace.cli.answers import moment
from millrace.cli.batch_state import BatchState, digest
from millrace.cli.display import Display
from millrace.cli.failures import FAILED, OK
from millrace.cli.invocation import Invocation, JsonGroup, pass_invocation, url_option
from millrace.client import Batch, Batches

_SHOWN_ERRORS = 20


@click.group(cls=JsonGroup)
def batch() -> None:
    """Answer files of calls, as OpenAI's Batch API has them."""


@batch.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Where answers go."
)
@click.option("--endpoint", help="The call of all lines.  [default: that of the first line]")
@click.option(
    "--window", default="24h", show_default=True, help="Time for all of it: 90s, 30m, 24h, 2d."
)
@click.option("--resume", is_flag=True, help="Go on with the run that was begun for this output.")
@url_option
@pass_invocation
def run(
    invocation: Invocation,
    file: Path,
    output: Path,
    endpoint: str | None,
    window: str,
    resume: bool,
    url: str | None,
) -> int:
    """Answer every line of FILE, and write the answers to the output when all have ended.

    A line is {"custom_id", "method": "POST", "url", "body"}, as OpenAI has it. Lines that could not
    be answered go to OUTPUT.errors.jsonl. What was begun goes on without this command: after Ctrl-C
    the same command with --resume waits for it again.
    """
    display = invocation.display
    state_file = output.with_name(output.name + ".batch")
    if state_file.exists() and not resume:
        raise click.UsageError(
            f"a run for {output} was begun: --resume goes on with it; to begin anew delete"
            f" {state_file}"
        )
    began_s = time.monotonic()
    with invocation.client(url) as client:
        batch_id = _begun(client.batches, display, file, state_file, endpoint, window)
        try:
            ended = _await(client.batches, display, batch_id)
        except KeyboardInterrupt:
            display.note(
                f"batch {batch_id} goes on; the same command with --resume waits for it,"
                f" `millrace batch cancel {batch_id}` stops it"
            )
            raise
        errors = output.with_name(output.name + ".errors.jsonl")
        if ended.output_file_id:
            client.batches.download(ended.output_file_id, output)
        if ended.error_file_id:
            client.batches.download(ended.error_file_id, errors)
    state_file.unlink(missing_ok=True)
    _tell(display, ended, output, errors, time.monotonic() - began_s)
    return OK if ended.status == "completed" and not ended.failed else FAILED


@batch.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", metavar="ID", help="Continue behind this batch.")
@url_option
@pass_invocation
def list_batches(invocation: Invocation, limit: int, after: str | None, url: str | None) -> None:
    """List batches, newest first."""
    with invocation.client(url) as client:
        page = client.batches.list(limit=limit, after=after)
    display = invocation.display
    if display.as_json:
        display.listing(page.items, has_more=page.has_more)
        return
    rows = [
        (b.id, b.status, b.model or "", moment(b.created_at), b.total, b.completed, b.failed)
        for b in page
    ]
    columns = ("id", "status", "model", "created", "lines", "completed", "failed")
    display.table(columns, rows, empty="no batches")
    if page.has_more:
        display.note(f"more: --after {page.items[-1].id}")


@batch.command()
@click.argument("batch_id")
@url_option
@pass_invocation
def status(invocation: Invocation, batch_id: str, url: str | None) -> None:
    """Show a batch."""
    with invocation.client(url) as client:
        _show(invocation.display, client.batches.get(batch_id))


@batch.command()
@click.argument("batch_id")
@url_option
@pass_invocation
def cancel(invocation: Invocation, batch_id: str, url: str | None) -> None:
    """Stop a batch; lines that run may end, and what was finished is kept."""
    with invocation.client(url) as client:
        found = client.batches.cancel(batch_id)
    if invocation.as_json:
        invocation.display.json(found)
    else:
        invocation.display.text(f"{found.id} {found.status}")


def _begun(
    batches: Batches,
    display: Display,
    file: Path,
    state_file: Path,
    endpoint: str | None,
    window: str,
) -> str:
    """The id of the run's batch, made if it is not there yet."""
    if state_file.exists():
        state = BatchState.read(state_file)
        if state.sha256 != digest(file):
            raise InvalidRequestError(f"{file} is not the file that this run was begun with")
    else:
        state = BatchState.begin(file)
    if state.batch_id is not None:
        return state.batch_id
    if state.file_id is None:
        with display.progress("sending", of="bytes") as tell:
            file_id = batches.upload(file, tell)
        state = state.write(state_file, file_id=file_id)
    made = batches.create(
        str(state.file_id),
        endpoint=endpoint or _endpoint(file),
        completion_window=window,
        idempotency_key=state.key,
    )
    state.write(state_file, batch_id=made.id)
    display.note(f"batch {made.id}")
    return made.id


def _endpoint(file: Path) -> str:
    """What the first line calls. A file that says nothing is the server's to refuse."""
    with file.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    try:
        return str(json.loads(first)["url"])
    except (ValueError, KeyError, TypeError):
        return "/v1/chat/completions"


def _await(batches: Batches, display: Display, batch_id: str) -> Batch:
    with display.progress("answering", of="lines") as tell:
        return batches.wait(
            batch_id, lambda now: tell(now.completed + now.failed, now.total) if now.total else None
        )


def _tell(display: Display, ended: Batch, output: Path, errors: Path, took_s: float) -> None:
    if display.as_json:
        display.json(ended)
        return
    for each in ended.line_errors[:_SHOWN_ERRORS]:
        where = "file" if each.get("line") is None else f"line {each['line']}"
        display.note(f"{where}: {each.get('message')} [{each.get('code')}]")
    more = len(ended.line_errors) - _SHOWN_ERRORS
    if more > 0:
        display.note(f"and {more} more")
    lines = f"{ended.completed} of {ended.total} lines answered"
    display.text(f"{ended.id} {ended.status}: {lines}, {ended.failed} failed, in {took_s:.1f} s")
    if ended.output_file_id:
        display.note(f"answers in {output}")
    if ended.error_file_id:
        display.note(f"errors in {errors}")


def _show(display: Display, found: Batch) -> None:
    if display.as_json:
        display.json(found)
        return
    record = {name: getattr(found, name) for name in found.__dataclass_fields__}
    times = {name: moment(record[name]) for name in ("created_at", "expires_at")}
    display.fields({**record, **times, "errors": [e.get("message") for e in found.line_errors]})
