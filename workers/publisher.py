"""Tokens on their way to Redis: many jobs' pieces of text in one call, every 30 ms."""

import threading
from collections.abc import Callable
from typing import Any

import structlog

from contract.errors import StoreUnavailableError
from contract.job import Claim
from contract.store import AttemptStore, TokenEvent
from workers.engine import Run

_INTERVAL_S = 0.03
_PATIENCE_S = 0.5

_log = structlog.get_logger(__name__)


class TokenStream:
    """The text of one attempt that waits to be published. Written by the engine's thread.

    Args:
        ready: set when there is text.
        hurry: set when that is the first.
    """

    def __init__(self, claim: Claim, ready: threading.Event, hurry: threading.Event) -> None:
        self.claim = claim
        self._ready = ready
        self._hurry = hurry
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._offset = 0
        self._tokens = 0
        self._run: Run[Any, Any] | None = None

    def follow(self, run: Run[Any, Any]) -> None:
        """Let it be known whose text this is."""
        self._run = run

    @property
    def ended(self) -> bool:
        """Whether no more will come; what is still here goes out with the job's end."""
        return self._run is not None and self._run.done

    def write(self, text: str, completion_tokens: int) -> None:
        """Add a piece of text; the engine's ``on_text``."""
        with self._lock:
            first = not (self._pieces or self._offset)
            self._pieces.append(text)
            self._tokens = completion_tokens
        self._ready.set()
        if first:
            self._hurry.set()

    def take(self) -> TokenEvent | None:
        """What was written since the last call, as an event of PUBLISH."""
        with self._lock:
            text = "".join(self._pieces)
            self._pieces.clear()
            offset, tokens = self._offset, self._tokens
            self._offset += len(text)
        if not text:
            return None
        data = {"text": text, "offset": offset, "completion_tokens": tokens}
        return self.claim.job_id, self.claim.attempt, "token", data, tokens


class TokenPublisher:
    """One thread that publishes the streams of all running jobs.

    Args:
        on_lost: told of jobs and attempts that no longer hold, for which nothing was written.
        interval_s: from one call to the next, unless a job has its first text.
    """

    def __init__(
        self,
        store: AttemptStore,
        on_lost: Callable[[str, int], None],
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._store = store
        self._on_lost = on_lost
        self._interval_s = interval_s
        self._ready = threading.Event()
        self._hurry = threading.Event()
        self._stopped = threading.Event()
        self._impatient = threading.Event()
        self._lock = threading.Lock()  # one flush at a time keeps each stream in order
        self._streams: dict[str, TokenStream] = {}
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._impatient.set()
        self._ready.set()
        self._hurry.set()
        self._thread.join(timeout=3)

    def give_up(self) -> None:
        """Wait for no server any more: what cannot be written at once is dropped."""
        self._impatient.set()

    def open(self, claim: Claim) -> TokenStream:
        """A stream for the text of a new attempt."""
        stream = TokenStream(claim, self._ready, self._hurry)
        self._streams[claim.job_id] = stream
        return stream

    def rest(self, stream: TokenStream) -> TokenEvent | None:
        """What a stream that ended still has, when all before it is written.

        A server that is away is waited for: streams keep growing meanwhile and lose nothing.
        """
        with self._lock:
            return stream.take()

    def close(self, stream: TokenStream) -> None:
        """Forget a stream; what it still has is dropped."""
        if self._streams.get(stream.claim.job_id) is stream:
            del self._streams[stream.claim.job_id]

    def _flush(self) -> None:
        """Publish what every stream has, and return when it is written."""
        with self._lock:
            going_on = [stream for stream in list(self._streams.values()) if not stream.ended]
            events = [event for stream in going_on if (event := stream.take()) is not None]
            delayed = False
            while events and not self._stopped.is_set():
                try:
                    lost = self._store.publish(events)
                except StoreUnavailableError as error:
                    if not delayed:
                        _log.warning("publish.delayed", jobs=len(events), error=error.detail)
                    delayed = True
                    if self._impatient.wait(_PATIENCE_S):
                        return
                    continue
                for job_id, attempt, *_ in events:
                    if job_id in lost:
                        self._on_lost(job_id, attempt)
                return

    def _run(self) -> None:
        # The first text of a job goes out at once, with what others have; else the interval holds.
        while not self._stopped.is_set():
            self._ready.wait()
            self._ready.clear()
            self._hurry.clear()
            self._flush()
            self._hurry.wait(self._interval_s)
