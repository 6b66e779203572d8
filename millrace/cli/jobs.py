"""Commands about jobs that exist."""

import click

from millrace.cli.answers import moment, show_job, show_output
from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation, url_option
from millrace.client import Job, Page

_STATES = ["queued", "in_progress", "completed", "failed", "cancelled", "expired"]


@click.command(cls=JsonCommand)
@click.argument("job_id")
@url_option
@pass_invocation
def status(invocation: Invocation, job_id: str, url: str | None) -> None:
    """Show everything about a job."""
    with invocation.client(url) as client:
        show_job(invocation.display, client.job(job_id).job)


@click.command(cls=JsonCommand)
@click.argument("job_id")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@click.option("--timeout", "timeout_s", type=float, metavar="S", help="Longest wait, in seconds.")
@url_option
@pass_invocation
def result(
    invocation: Invocation, job_id: str, wait: bool, timeout_s: float | None, url: str | None
) -> None:
    """Print a job's answer; exits with 4 when there is none yet."""
    with invocation.client(url) as client:
        handle = client.job(job_id)
        if wait or timeout_s is not None:
            with invocation.display.working(f"waiting for job {job_id}"):
                handle.wait(timeout_s)
        show_output(invocation.display, handle.job)


@click.command(cls=JsonCommand)
@click.argument("job_id")
@url_option
@pass_invocation
def cancel(invocation: Invocation, job_id: str, url: str | None) -> None:
    """Stop a job; one that has ended stays as it is."""
    with invocation.client(url) as client:
        job = client.job(job_id).cancel()
    if invocation.as_json:
        invocation.display.json(job)
    else:
        invocation.display.text(f"{job.id} {job.status}")


@click.command("jobs", cls=JsonCommand)
@click.option("--status", "status_", type=click.Choice(_STATES), help="Only jobs in this state.")
@click.option("--model", help="Only jobs of this model.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", metavar="ID", help="Continue behind this job.")
@url_option
@pass_invocation
def list_jobs(
    invocation: Invocation,
    status_: str | None,
    model: str | None,
    limit: int,
    after: str | None,
    url: str | None,
) -> None:
    """List jobs, newest first."""
    with invocation.client(url) as client:
        page = client.jobs(status=status_, model=model, limit=limit, after=after)
    _show_page(invocation, page, empty="no such jobs")


@click.command(cls=JsonCommand)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", metavar="ID", help="Continue behind this job.")
@url_option
@pass_invocation
def dead(invocation: Invocation, limit: int, after: str | None, url: str | None) -> None:
    """List dead letters: jobs that were given up, with the cause."""
    with invocation.client(url) as client:
        page = client.dead(limit=limit, after=after)
    _show_page(invocation, page, empty="no dead letters")


@click.command(cls=JsonCommand)
@click.argument("job_id")
@url_option
@pass_invocation
def redrive(invocation: Invocation, job_id: str, url: str | None) -> None:
    """Queue a dead letter again."""
    with invocation.client(url) as client:
        job = client.redrive(job_id).job
    if invocation.as_json:
        invocation.display.json(job)
    else:
        invocation.display.text(f"{job.id} {job.status}")


def _show_page(invocation: Invocation, page: Page[Job], *, empty: str) -> None:
    display = invocation.display
    if display.as_json:
        display.listing(page.items, has_more=page.has_more)
        return
    rows = [
        (
            job.id,
            job.status,
            job.model,
            moment(job.created_at),
            job.attempts,
            (job.error or {}).get("message") or job.waiting_reason or "",
        )
        for job in page
    ]
    display.table(("id", "status", "model", "created", "attempts", "remark"), rows, empty=empty)
    if page.has_more:
        display.note(f"more: --after {page.items[-1].id}")


COMMANDS = (status, result, cancel, list_jobs, dead, redrive)
