"""``millrace submit``: ask, and wait or watch if told to."""

import sys
from pathlib import Path
from typing import Any

import click

from contract.errors import InvalidRequestError
from millrace.cli.answers import show_output, state_of
from millrace.cli.bulk import submit_lines
from millrace.cli.display import Display
from millrace.cli.following import follow
from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation, url_option
from millrace.cli.job_lines import read_lines
from millrace.client import JobHandle

_JSON_LINES = (".jsonl", ".ndjson")


@click.command(cls=JsonCommand)
@click.argument("prompt", required=False)
@click.option("--wait", is_flag=True, help="Wait for the answer and print it.")
@click.option("--stream", is_flag=True, help="Print the answer as it is made.")
@click.option("--timeout", "timeout_s", type=float, metavar="S", help="Longest wait, in seconds.")
@click.option("--model", help="Model: NAME, NAME@ALIAS or NAME:VERSION.")
@click.option(
    "--task", type=click.Choice(["generate", "embed"]), help="[default: what the model is for]"
)
@click.option("--system", metavar="TEXT", help="A system message before the prompt.")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="Read the prompt from here; from FILE.jsonl, many jobs.",
)
@click.option("--jsonl", is_flag=True, help="Each line of --file is a job in JSON, as the API's.")
@click.option("--text", "lines", is_flag=True, help="Each line of --file is a prompt.")
@click.option("--max-tokens", type=int, help="Longest answer, in tokens.")
@click.option("--temperature", type=float, help="0 is greedy, and the default.")
@click.option("--top-p", type=float)
@click.option("--top-k", type=int)
@click.option("--seed", type=int, help="Makes sampling repeatable.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer here; repeatable.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 is the most urgent.")
@click.option("--deadline", "deadline_s", type=float, metavar="S", help="Expire after S seconds.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Kept with the job.")
@click.option("--cache/--no-cache", default=None, help="Whether an earlier answer will do.")
@click.option("--idempotency-key", metavar="KEY", help="Made by itself unless given.")
@url_option
@pass_invocation
def submit(
    invocation: Invocation,
    /,
    prompt: str | None,
    wait: bool,
    stream: bool,
    timeout_s: float | None,
    system: str | None,
    file: Path | None,
    jsonl: bool,
    lines: bool,
    metadata: tuple[str, ...],
    stop: tuple[str, ...],
    url: str | None,
    **asked: Any,
) -> int | None:
    """Queue PROMPT (from stdin when it is - or not given) and print the job's id.

    With --wait or --stream, print the answer instead.

    From a file of jobs, one a line, queue all and print their ids, or with --wait a JSON line for
    each when it has ended, in the order of the file. The other options are for the jobs that do
    not say it themselves.
    """
    if stream and asked["task"] == "embed":
        raise click.UsageError("--stream is for --task generate: an embedding has no text")
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    display = invocation.display
    asked |= {"metadata": dict(_pair(each) for each in metadata), "stop": list(stop) or None}
    if jsonl or lines or (file is not None and file.suffix in _JSON_LINES):
        if file is None or prompt is not None or stream or system or (jsonl and lines):
            raise click.UsageError(
                "jobs from lines take --file and no PROMPT, --stream, --system; --jsonl or --text"
            )
        jobs = read_lines(file, as_text=lines)
        with invocation.client(url) as client:
            return submit_lines(client, display, jobs, wait=wait, timeout_s=timeout_s, **asked)
    text = _read_prompt(prompt, file)
    with invocation.client(url) as client:
        handle = client.submit(
            [*_message("system", system), *_message("user", text)] if system else text,
            **asked,
        )
        if stream:
            follow(handle, display)
        elif wait:
            _await(handle, display, timeout_s)
        elif display.as_json:
            display.json(handle.job)
        else:
            display.text(handle.id)
            display.note(f"{state_of(handle.job)}; `millrace result {handle.id} --wait` shows it")
    return None


def _await(handle: JobHandle, display: Display, timeout_s: float | None) -> None:
    try:
        with display.working(f"{state_of(handle.job)}, waiting for the end of {handle.id}"):
            job = handle.wait(timeout_s)
    except KeyboardInterrupt:
        display.note(f"job {handle.id} goes on; `millrace cancel {handle.id}` stops it")
        raise
    show_output(display, job)


def _read_prompt(prompt: str | None, file: Path | None) -> str:
    if file is not None and prompt is not None:
        raise click.UsageError("give PROMPT or --file, not both")
    if file is not None and str(file) != "-":
        return _decode(file.read_bytes(), str(file))
    if prompt is not None and prompt != "-":
        return prompt
    if prompt is None and file is None and sys.stdin.isatty():
        raise click.UsageError("say what to ask: millrace submit PROMPT (or - for stdin)")
    return _decode(sys.stdin.buffer.read(), "stdin")


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{where} is not UTF-8 text: {error.reason}") from error


def _message(role: str, content: str | None) -> list[dict[str, str]]:
    return [{"role": role, "content": content}] if content else []


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.UsageError(f"--metadata {text!r} is not KEY=VALUE")
    return name, value
