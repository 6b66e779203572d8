"""``millrace submit``: ask, and wait or watch if told to."""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import click

from contract.errors import InvalidRequestError, MillraceError
from millrace.cli.answers import show_output
from millrace.cli.display import Display
from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation, url_option
from millrace.client import Job, JobHandle

_REASONS = {
    "no_worker": "no live worker serves its model",
    "no_capacity": "every slot is taken",
    "shared_run": "an identical job runs for both",
}


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
@click.option("--file", "file", type=click.Path(path_type=Path), help="Read the prompt from here.")
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
    metadata: tuple[str, ...],
    stop: tuple[str, ...],
    url: str | None,
    **asked: Any,
) -> None:
    """Queue PROMPT (from stdin when it is - or not given) and print the job's id.

    With --wait or --stream, print the answer instead.
    """
    if stream and asked["task"] == "embed":
        raise click.UsageError("--stream is for --task generate: an embedding has no text")
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    text = _read_prompt(prompt, file)
    display = invocation.display
    with invocation.client(url) as client:
        handle = client.submit(
            [*_message("system", system), *_message("user", text)] if system else text,
            metadata=dict(_pair(each) for each in metadata),
            stop=list(stop) or None,
            **asked,
        )
        if stream:
            _follow(handle, display)
        elif wait:
            _await(handle, display, timeout_s)
        elif display.as_json:
            display.json(handle.job)
        else:
            display.text(handle.id)
            display.note(f"{_state(handle.job)}; `millrace result {handle.id} --wait` shows it")


def _await(handle: JobHandle, display: Display, timeout_s: float | None) -> None:
    try:
        with display.working(f"{_state(handle.job)}, waiting for the end of {handle.id}"):
            job = handle.wait(timeout_s)
    except KeyboardInterrupt:
        display.note(f"job {handle.id} goes on; `millrace cancel {handle.id}` stops it")
        raise
    show_output(display, job)


def _follow(handle: JobHandle, display: Display) -> None:
    began = time.monotonic()
    pieces = handle.stream()
    try:
        with display.working(f"{_state(handle.job)}, waiting for the first token"):
            first = next(pieces, "")
            first_s = time.monotonic() - began
        for text in itertools.chain([first], pieces):
            if display.as_json:
                display.json({"type": "text", "text": text})
            else:
                display.piece(text)
    except KeyboardInterrupt:
        display.note(f"\njob {handle.id} goes on; `millrace cancel {handle.id}` stops it")
        raise
    except MillraceError:
        if not display.as_json:
            display.piece("\n")  # the error has a line of its own
        raise
    if display.as_json:
        display.json({"type": "job", "job": handle.job})
    else:
        display.piece("\n")
        display.note(_summary(handle.job, first_s, time.monotonic() - began))


def _summary(job: Job, first_s: float, total_s: float) -> str:
    """One line about a finished stream: tokens, speed and waits, as the caller saw them."""
    tokens = (job.usage or {}).get("completion_tokens", 0)
    said = [f"{tokens} tokens in {total_s:.2f} s"]
    if not job.cached:
        said.append(f"first after {first_s:.2f} s")
        if tokens > 1 and total_s > first_s:
            said.append(f"then {(tokens - 1) / (total_s - first_s):.0f} tokens/s")
    if job.cached:
        said.append("from the cache")
    return f"[{job.model}: {', '.join(said)}]"


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


def _state(job: Job) -> str:
    state = job.status.replace("_", " ")
    if job.queue_position and job.queue_position > 1:
        state += f", number {job.queue_position} in line"
    reason = _REASONS.get(job.waiting_reason or "")
    return f"{state} ({reason})" if reason else state
