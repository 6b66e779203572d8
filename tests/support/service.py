"""A running Millrace as its clients see it: over HTTP, from one front or several."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from contract import keys
from contract.errors import StoreUnavailableError
from contract.settings import Settings
from contract.store import JobStore
from tests.support.waiting import eventually

TERMINAL = {"completed", "failed", "cancelled", "expired"}


class Service:
    """Clients' calls. A submit is repeated with its key until it is answered 202.

    Args:
        urls: of the fronts; a call that fails goes to the next one.
        transport: carries the calls, such as one that counts what comes back.
    """

    def __init__(
        self,
        settings: Settings,
        urls: Sequence[str],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.store = JobStore.connect(settings)
        self._urls = list(urls)
        self.http = httpx.Client(
            base_url=self._urls[0],
            transport=transport,
            timeout=30,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
            trust_env=False,
        )

    def close(self) -> None:
        """End the connections."""
        self.http.close()

    def try_submit(self, body: Mapping[str, Any], key: str) -> httpx.Response | None:
        """One round over the fronts; the first answer, or None when none gave one."""
        for url in self._urls:
            try:
                return self.http.post(
                    f"{url}/api/v1/jobs", json=dict(body), headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                continue
        return None

    def submit(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Submit until there is a 202, as a client does that must not lose its job."""
        key = key or uuid.uuid4().hex

        def accepted() -> dict[str, Any] | None:
            answer = self.try_submit(body, key)
            if answer is None or answer.status_code in (429, 503):
                return None
            assert answer.status_code == 202, answer.text
            job: dict[str, Any] = answer.json()
            return job

        job = eventually(accepted, timeout_s=90, every_s=0.05)
        assert job is not None
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as a front shows it."""
        answer = self.http.get(f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finished(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """The job, once it has ended."""

        def ended() -> dict[str, Any] | None:
            try:
                job = self.job(job_id)
            except httpx.TransportError:
                return None
            return job if job["status"] in TERMINAL else None

        job = eventually(ended, timeout_s)
        assert job is not None
        return job

    def worker_rows(self) -> list[dict[str, Any]]:
        """What ``GET /api/v1/workers`` lists."""
        rows: list[dict[str, Any]] = self.http.get("/api/v1/workers").json()["data"]
        return rows

    def is_ready(self, workers: int) -> bool:
        """Whether the front says so and lists that many workers."""
        try:
            ready = self.http.get("/readyz").status_code == 200
            return ready and len(self.worker_rows()) >= workers
        except httpx.TransportError:
            return False

    def completed(self) -> int:
        """How many jobs have completed in all; 0 while Redis does not say."""
        try:
            return self.store.counters().get("jobs_completed", 0)
        except StoreUnavailableError:
            return 0

    def completes(self, more: int, timeout_s: float) -> float:
        """Wait until so many more jobs have completed; the seconds that it took."""
        before, started_s = self.completed(), time.monotonic()
        eventually(lambda: self.completed() >= before + more, timeout_s)
        return time.monotonic() - started_s

    def tried_again(self, jobs: Sequence[str]) -> list[str]:
        """Those of ``jobs`` that were claimed more than once."""
        return [job for job in jobs if self.store.get(job).attempts > 1]

    def running_on(self, worker: str) -> set[str]:
        """The jobs that a worker holds now."""
        held: Any = self.store.connection.redis.smembers(keys.RUNNING(worker))
        return set(held)


def prompt(text: str, max_tokens: int = 64, **fields: Any) -> dict[str, Any]:
    """The body of a greedy job."""
    return {
        "model": "tiny", "task": "generate", "input": text,
        "parameters": {"max_tokens": max_tokens}, **fields,
    }  # fmt: skip
