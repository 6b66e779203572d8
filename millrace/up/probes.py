"""Whether the parts of the stack are ready to serve."""

import time
from collections.abc import Callable, Sequence

import httpx

from contract.errors import MillraceError
from contract.settings import Settings
from millrace.client import Client, RetryPolicy, Worker

_TIMEOUT_S = 1.0
_FRESH_S = 0.2  # answers are shared by the questions of one moment


class FrontProbe:
    """Asks the front about itself and the workers, a few times per second at most."""

    def __init__(
        self,
        settings: Settings,
        *,
        url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        url = url or local_url(settings)
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)
        self._client = Client(url, timeout_s=_TIMEOUT_S, policy=RetryPolicy(retries=0))
        self._clock = clock
        self._workers: Sequence[Worker] = ()
        self._asked_s = -1.0

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._client.close()

    def front_lives(self) -> bool:
        """Whether the front answers."""
        return self._answers("/healthz")

    def is_ready(self) -> bool:
        """Whether a job that is sent now can be run."""
        return self._answers("/readyz")

    def missing(self) -> Sequence[str]:
        """What the front says that it lacks; empty when it does not say."""
        try:
            return [str(each) for each in self._http.get("/readyz").json().get("missing", ())]
        except (httpx.TransportError, ValueError):
            return ()

    def has_lost_jobs(self) -> bool:
        """Whether the front says that Redis is not the one that held its jobs."""
        return "jobs" in self.missing()

    def worker(self, pid: int) -> Worker | None:
        """The registered worker with this process id, if there is one."""
        if self._clock() - self._asked_s > _FRESH_S:
            try:
                self._workers = self._client.workers().items
            except MillraceError:
                self._workers = ()
            self._asked_s = self._clock()
        return next((each for each in self._workers if each.pid == pid), None)

    def _answers(self, path: str) -> bool:
        try:
            return self._http.get(path).is_success
        except httpx.TransportError:
            return False


def local_url(settings: Settings) -> str:
    """Where the front of this machine is reached; MILLRACE_URL may name another."""
    here = {"MILLRACE_HOST": settings.host, "MILLRACE_PORT": str(settings.port)}
    return Settings.from_mapping(here).url
