"""Bursts and single jobs through Millrace's HTTP front."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from benchmarks.queue_cost.http_line import Line

JOBS = "/api/v1/jobs"
CONNECTIONS = 64
SUBMITTERS = 4
"""Connections over which the time of a submit is taken: enough to keep a worker at work."""
BATCH = 1000
_WAIT = "Prefer: wait=60\r\n"

T = TypeVar("T")
Body = dict[str, Any]


async def on_lines(
    url: str, connections: int, items: Sequence[T], call: Callable[[Line, T], Awaitable[None]]
) -> None:
    """Call with each item, each connection with one after another."""
    left = iter(items)

    async def connection() -> None:
        line = await Line.open(url)
        for item in left:
            await call(line, item)
        line.close()

    await asyncio.gather(*(connection() for _ in range(min(connections, len(items)))))


async def submit_and_wait(url: str, bodies: Sequence[Body]) -> None:
    """Each job by one request that is answered when the job has ended."""

    async def ask(line: Line, body: Body) -> None:
        _completed(await line.ask("POST", JOBS, body, head=_WAIT))

    await on_lines(url, CONNECTIONS, bodies, ask)


async def submit_in_bulk(url: str, bodies: Sequence[Body]) -> None:
    """All jobs by few requests, then the result of each."""
    ids: list[str] = []
    line = await Line.open(url)
    for batch in _batches(bodies):
        answer = await line.ask("POST", f"{JOBS}:batch", {"jobs": batch})
        ids += [_accepted(row) for row in answer["data"]]
    line.close()

    async def read(line: Line, job_id: str) -> None:
        _completed(await line.ask("GET", f"{JOBS}/{job_id}?wait=60"))

    await on_lines(url, CONNECTIONS, ids, read)


async def submits_s(url: str, bodies: Sequence[Body], connections: int = SUBMITTERS) -> list[float]:
    """Seconds of each submit that does not wait for its job, while a worker works."""
    taken_s: list[float] = []

    async def ask(line: Line, body: Body) -> None:
        started_s = time.perf_counter()
        await line.ask("POST", JOBS, body)
        taken_s.append(time.perf_counter() - started_s)

    await on_lines(url, connections, bodies, ask)
    return taken_s


async def results_s(url: str, bodies: Sequence[Body]) -> list[float]:
    """Seconds from the submit to the result, one job at a time."""
    line, taken_s = await Line.open(url), []
    for body in bodies:
        started_s = time.perf_counter()
        _completed(await line.ask("POST", JOBS, body, head=_WAIT))
        taken_s.append(time.perf_counter() - started_s)
    line.close()
    return taken_s


async def first_tokens_s(url: str, bodies: Sequence[Body]) -> list[float]:
    """Seconds from the submit to the first token on the job's stream, one job at a time."""
    submits, streams, taken_s = await Line.open(url), await Line.open(url), []
    for body in bodies:
        started_s = time.perf_counter()
        job = await submits.ask("POST", JOBS, body)
        await streams.follow(f"{JOBS}/{job['id']}/events", b"event: token\n")
        taken_s.append(time.perf_counter() - started_s)
        await streams.rest()
    submits.close()
    streams.close()
    return taken_s


async def hits_s(url: str, body: Body, count: int, connections: int) -> list[float]:
    """Seconds of each of so many submits of one known question, over so many connections."""
    taken_s: list[float] = []

    async def ask(line: Line, _: int) -> None:
        started_s = time.perf_counter()
        job = await line.ask("POST", JOBS, body)
        taken_s.append(time.perf_counter() - started_s)
        if not (job["status"] == "completed" and job["cached"]):
            raise RuntimeError(f"not from the cache: {job}")

    await on_lines(url, connections, range(count), ask)
    return taken_s


def _batches(bodies: Sequence[Body]) -> list[Sequence[Body]]:
    return [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)]


def _accepted(row: dict[str, Any]) -> str:
    if row["status"] != 202:
        raise RuntimeError(f"not accepted: {row}")
    job_id: str = row["job"]["id"]
    return job_id


def _completed(job: dict[str, Any]) -> None:
    if job["status"] != "completed":
        raise RuntimeError(f"not completed: {job}")
