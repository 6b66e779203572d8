"""Clients that read, or try to submit, while things break; and what they were answered."""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.service import Service, prompt

_PATHS = ("/api/v1/jobs/{job}", "/api/v1/jobs?limit=5", "/api/v1/queues", "/readyz", "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One read: its path, the status of its answer, and how long that took."""

    path: str
    status: int
    took_s: float


class Onlooker:
    """Reads a job, the lists, the readiness and the page in turn, and follows jobs as streams."""

    def __init__(self, service: Service, url: str, jobs: Sequence[str]) -> None:
        self._jobs = list(jobs)
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._stopped = threading.Event()
        self.looks: list[Look] = []
        self.stories = [Story(service, url, job) for job in jobs]
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,))
            for work in (self._read, *(story.follow for story in self.stories))
        ]

    def start(self) -> "Onlooker":
        """Begin to read."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Counter[tuple[str, int]]:
        """Read no more, once every followed job has ended; how often each answer came."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=60)
        self._http.close()
        assert not self.failures, self.failures[0]
        return Counter((look.path, look.status) for look in self.looks)

    @property
    def slowest_s(self) -> float:
        """The longest that any answer took, or the head of any stream."""
        looks = [look.took_s for look in self.looks]
        return max(looks + [took_s for story in self.stories for took_s in story.heads_s])

    @property
    def statuses(self) -> set[int]:
        """Every status that was answered, to reads and to streams."""
        return {look.status for look in self.looks}.union(*(s.statuses for s in self.stories))

    def _read(self) -> None:
        for path, job in zip(itertools.cycle(_PATHS), itertools.cycle(self._jobs), strict=False):
            if self._stopped.wait(0.05):
                return
            started_s = time.monotonic()
            status = self._http.get(path.format(job=job)).status_code
            took_s = time.monotonic() - started_s
            self.looks.append(Look(path=path, status=status, took_s=took_s))

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - reported by stop(), in the test's thread
            self.failures.append(error)


class Story:
    """One job's events, read as a client does that comes back with the last id that it has."""

    def __init__(self, service: Service, url: str, job: str) -> None:
        self.job = job
        self._service = service
        self._url = f"{url}/api/v1/jobs/{job}/events"
        self.statuses: set[int] = set()
        self.heads_s: list[float] = []
        self.ids: list[tuple[int, ...]] = []
        self.texts: dict[int, list[str]] = {}
        self.done = False

    def follow(self) -> None:
        """Read until ``done``, for at most two minutes."""
        end = time.monotonic() + 120
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self.done and time.monotonic() < end:
                if not self._read(http):
                    time.sleep(0.2)
        assert self.done, f"the stream of {self.job} never ended"

    def _read(self, http: httpx.Client) -> bool:
        last = "-".join(map(str, self.ids[-1])) if self.ids else "0-0"
        started_s = time.monotonic()
        with http.stream("GET", self._url, headers={"Last-Event-ID": last}) as answer:
            self.heads_s.append(time.monotonic() - started_s)
            self.statuses.add(answer.status_code)
            if answer.status_code != 200:
                return False
            event: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    event[name] = value
                elif event.keys() >= {"event", "data"}:
                    self._take(event)
                    event = {}
        return True

    def _take(self, event: dict[str, str]) -> None:
        if "id" in event:
            self.ids.append(tuple(map(int, event["id"].split("-"))))
        data = json.loads(event["data"])
        if event["event"] == "token":
            texts = self.texts.setdefault(data["attempt"], [])
            assert data["offset"] == sum(map(len, texts)), "a piece of text is missing, or twice"
            texts.append(data["text"])
        self.done = event["event"] == "done"

    def check(self) -> None:
        """Every event came once and in order, and the text is that of the result."""
        assert self.ids == sorted(set(self.ids)), self.job
        job = self._service.job(self.job)
        assert job["status"] == "completed", job
        assert "".join(self.texts[job["attempts"]]) == job["output"]["text"]


class Tries:
    """Submits that are not repeated, and what each was answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.accepted: list[str] = []
        self.answers: Counter[tuple[int, str]] = Counter()
        """How often each status and, with an error, each code came."""
        self.slowest_s = 0.0

    def submit(self) -> int:
        """Try once; the status."""
        started_s = time.monotonic()
        answer = self._service.try_submit(prompt(f"a try at {started_s}", 1), uuid.uuid4().hex)
        self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)
        assert answer is not None, "no front answered"
        body = answer.json()
        self.answers[answer.status_code, body.get("code", "")] += 1
        if answer.status_code == 202:
            self.accepted.append(body["id"])
        else:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status_code
