"""A job that was submitted, and what can be done with it."""

import time
from collections.abc import Callable, Iterator

from contract.errors import WaitTimeoutError
from contract.transcript import Transcript
from millrace.client.feed import follow, job_path
from millrace.client.records import Event, Job, Json, parse
from millrace.client.transport import Transport

_POLL_S = 30.0  # the server holds an answer back for 60 s at most


class JobHandle:
    """One job on the server. :attr:`job` is what the server last said about it.

    ``whole`` says that this is all of it; of many jobs at once the server leaves the output out.
    """

    def __init__(
        self,
        transport: Transport,
        job: Job,
        *,
        whole: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._whole = whole
        self.job = job

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r}, status={self.job.status!r})"

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    def refresh(self) -> Job:
        """The job as it is now. Raises UnknownJobError or JobGoneError."""
        return self._poll(0.0)

    def wait(self, timeout_s: float | None = None) -> Job:
        """The job once it has ended, in whichever way; ask its ``text`` or ``result()``.

        Raises:
            WaitTimeoutError: it has not ended within ``timeout_s``.
        """
        end = None if timeout_s is None else self._clock() + timeout_s
        if self.job.finished and not self._whole:
            self.refresh()
        while not self.job.finished:
            left_s = _POLL_S if end is None else end - self._clock()
            if left_s <= 0:
                raise WaitTimeoutError(
                    f"job {self.id} is {self.job.status} after {timeout_s:g} s; it goes on"
                )
            self._poll(min(left_s, _POLL_S))
        return self.job

    def result(self, timeout_s: float | None = None) -> Json:
        """Wait, then the output. Raises like :meth:`wait` and :meth:`Job.result`."""
        return self.wait(timeout_s).result()

    def events(self, *, after: str = "") -> Iterator[Event]:
        """Events as they happen, from the first or after id ``after``; the last is ``done``."""
        return follow(self._transport, self.id, after=after)

    def stream(self) -> Iterator[str]:
        """The text of a ``generate`` job piece by piece as it is made; no piece comes twice.

        The pieces together are exactly the job's final text.

        Raises:
            StreamDivergedError: a second attempt gave other text than was already yielded.
            MillraceError: like :meth:`Job.result`, when the job does not complete.
        """
        transcript = Transcript(self.id)
        for event in self.events():
            if event.kind == "token":
                new = transcript.add(event.data.get("offset") or 0, event.data["text"])
                if new:
                    yield new
        rest = transcript.complete(self.refresh().text)
        if rest:
            yield rest

    def cancel(self) -> Job:
        """Ask the server to stop the job; a job that has ended stays as it is."""
        return self._take(self._transport.call("POST", f"{job_path(self.id)}/cancel"))

    def _poll(self, wait_s: float) -> Job:
        params = {"wait": f"{wait_s:.3f}".rstrip("0").rstrip(".")} if wait_s else None
        path = job_path(self.id)
        return self._take(self._transport.call("GET", path, params=params, patience_s=wait_s))

    def _take(self, answer: Json) -> Job:
        self.job, self._whole = parse(Job, answer), True
        return self.job
