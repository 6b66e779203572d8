"""Clients that ask for more than can be done: ``python -m tests.support.flood URL KIND N SECONDS``.

KIND ``rude``: N submits per second over kept connections; who is refused never comes back.
KIND ``polite``: N clients, each with one job at a time; who is refused comes back when told.
It prints one JSON object: the ids of the accepted jobs, other answers by their status, when a rude
one was refused and the seconds that it took, and the seconds that each polite one was told and
waited.
"""

import asyncio
import gc
import itertools
import json
import sys
import time
import uuid
from collections import Counter
from typing import Any

import httpx

from benchmarks.queue_cost.http_line import Line
from tests.support.service import prompt

CONNECTIONS = 16
TOKENS = 40
START_S = 2.0  # polite clients do not all come in the same moment


class Flood:
    """What one process of clients did and was told."""

    def __init__(self, url: str, http: httpx.AsyncClient, seconds: float) -> None:
        self._url = url
        self._http = http
        self._end_s = time.monotonic() + seconds
        self._prompts = (f"{uuid.uuid4().hex} {n}" for n in itertools.count())  # none is cached
        self.accepted: list[str] = []
        self.refusals: list[tuple[float, float]] = []
        self.others: Counter[int] = Counter()
        self.waits: list[tuple[float, float]] = []

    async def rude(self, per_second: float) -> None:
        """Submit at a steady rate, each connection one after another."""
        pause_s = CONNECTIONS / per_second

        async def connection(number: int) -> None:
            line = await Line.open(self._url)
            due_s = time.monotonic() + number / per_second
            while due_s < self._end_s:
                await asyncio.sleep(max(due_s - time.monotonic(), 0))
                due_s = max(due_s + pause_s, time.monotonic())
                asked_s = time.time()  # as in Redis's account of its disk
                started_s = time.perf_counter()
                status, body = await line.exchange(
                    "POST", "/api/v1/jobs", prompt(next(self._prompts), TOKENS),
                    head=f"Idempotency-Key: {uuid.uuid4().hex}\r\n",
                )  # fmt: skip
                if status == 202:
                    self.accepted.append(json.loads(body)["id"])
                elif status == 429:
                    self.refusals.append((asked_s, time.perf_counter() - started_s))
                else:
                    self.others[status] += 1

        await asyncio.gather(*(connection(number) for number in range(CONNECTIONS)))

    async def polite(self, clients: int) -> None:
        """Keep one job per client waiting or running; who would be too late goes."""

        async def client(number: int) -> None:
            await asyncio.sleep(START_S * number / clients)
            while time.monotonic() < self._end_s:
                if not (job := await self._admitted(next(self._prompts))):
                    break
                await self._http.get(f"/api/v1/jobs/{job}", params={"wait": 30})

        await asyncio.gather(*(client(number) for number in range(clients)))

    async def _admitted(self, name: str) -> str | None:
        """Come back until there is a place, or until the time is over."""
        key, first_s, told_s = uuid.uuid4().hex, time.monotonic(), None
        while True:
            job, retry_s = await self._submit(name, key)
            if job is not None:
                if told_s is not None:
                    self.waits.append((told_s, time.monotonic() - first_s))
                return job
            told_s = retry_s if told_s is None else told_s
            if time.monotonic() + retry_s > self._end_s:
                return None
            await asyncio.sleep(retry_s)

    async def _submit(self, name: str, key: str) -> tuple[str | None, float]:
        answer = await self._http.post(
            "/api/v1/jobs", json=prompt(name, TOKENS), headers={"Idempotency-Key": key}
        )
        if answer.status_code == 202:
            job: str = answer.json()["id"]
            self.accepted.append(job)
            return job, 0
        if answer.status_code != 429:
            self.others[answer.status_code] += 1
        return None, float(answer.headers.get("Retry-After", 1))


async def main(url: str, kind: str, number: float, seconds: float) -> dict[str, Any]:
    """Flood the front; what came of it."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as http:
        flood = Flood(url, http, seconds)
        await (flood.rude(number) if kind == "rude" else flood.polite(int(number)))
        return {
            "accepted": flood.accepted, "refusals": flood.refusals, "others": flood.others,
            "waits": flood.waits,
        }  # fmt: skip


if __name__ == "__main__":
    url, kind, number, seconds = sys.argv[1:]
    gc.freeze()  # what is measured must not be this process
    print(json.dumps(asyncio.run(main(url, kind, float(number), float(seconds)))))
