"""Clients that cancel as fast as a kept connection lets them, and note what they were told."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer to one cancel: how long it took, and when it came (s since the epoch)."""

    job: str
    status: str
    ran: bool
    took_s: float
    at_s: float


def cancel_all(port: int, jobs: Sequence[str], *, threads: int) -> list[Told]:
    """Cancel every job in the given order, from so many threads with a connection each."""
    shares = [jobs[n::threads] for n in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return [
            told for part in pool.map(lambda share: cancel(port, share), shares) for told in part
        ]


def cancel(port: int, jobs: Sequence[str]) -> list[Told]:
    """Cancel jobs one after another. Each must be answered 202."""
    line = HTTPConnection("127.0.0.1", port, timeout=30)
    line.connect()
    told = []
    for job in jobs:
        started_s = time.perf_counter()
        line.request("POST", f"/api/v1/jobs/{job}/cancel")
        answer = line.getresponse()
        body = answer.read()
        took_s, at_s = time.perf_counter() - started_s, time.time()
        assert answer.status == 202, body
        record = json.loads(body)
        told.append(
            Told(
                job=job, status=record["status"], ran=record["started_at"] is not None,
                took_s=took_s, at_s=at_s,
            )
        )  # fmt: skip
    line.close()
    return told
