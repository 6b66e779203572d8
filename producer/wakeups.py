"""One reader per process fans the events of jobs out to everyone who follows them."""

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager

import structlog

from contract.errors import StoreUnavailableError
from contract.job import Event
from contract.store import ENDED, EVENTS_AT_ONCE, JobStore, WakeUps

FROM_START = "0-0"
#: Entries kept for a reader that is slower than its job; beyond it, the reader reads again.
MAX_QUEUED = 256
#: Followed jobs are read this often even if nothing rang, in case a ring was missed.
QUIET_SWEEP_S = 1.0
BUSY_SWEEP_S = 5.0
#: Jobs that are read in one go: the process does nothing else while it takes an answer apart.
_MAX_JOBS_A_READ = 20
_MAX_RINGS_A_READ = 64

_log = structlog.get_logger()


def order(event_id: str) -> tuple[int, int]:
    """A stream id as something that compares in the stream's order."""
    time_ms, _, sequence = event_id.partition("-")
    return int(time_ms), int(sequence or 0)


class Subscription:
    """The events of one job behind one id, each once and in order, for one reader.

    It begins *lagging*: the first ``take`` reads the stream itself, and later ones get what the
    hub delivers. What a slow reader does not take in time is dropped and read again later, so
    its memory is bounded.
    """

    def __init__(self, hub: "EventHub", job_id: str, after: str) -> None:
        self.job_id = job_id
        self.last_id = after
        self._hub = hub
        self._news = threading.Condition()
        self._queue: deque[Event] = deque()
        self._lagging = True
        self.closed = False

    @property
    def queued(self) -> int:
        """Events that wait to be taken."""
        return len(self._queue)

    def take(self, timeout_s: float) -> list[Event]:
        """What has come since the last call; waits at most ``timeout_s`` for something.

        Raises:
            StoreUnavailableError: the reader lags and Redis does not answer; call again later.
        """
        due_s = time.monotonic() + timeout_s
        while True:
            fresh = self._collect(max(due_s - time.monotonic(), 0.0))
            if fresh or self.closed or time.monotonic() >= due_s:
                return fresh

    def _collect(self, timeout_s: float) -> list[Event]:
        with self._news:
            if not (self._queue or self._lagging or self.closed):
                self._news.wait(timeout_s)
            found = list(self._queue)
            self._queue.clear()
            lagging, self._lagging = self._lagging, False
        if lagging:
            try:
                found = self._hub.read(self.job_id, self.last_id)
            except StoreUnavailableError:
                self._lagging = True
                raise
        last = order(self.last_id)
        fresh = [event for event in found if order(event.id) > last]
        if fresh:
            self.last_id = fresh[-1].id
        return fresh

    def lag(self) -> None:
        """Let the next ``take`` read the stream itself."""
        with self._news:
            self._queue.clear()
            self._lagging = True
            self._news.notify()

    def deliver(self, events: Iterable[Event]) -> None:
        """Called by the hub."""
        with self._news:
            self._queue.extend(events)
            if len(self._queue) > MAX_QUEUED:
                self._queue.clear()
                self._lagging = True
            self._news.notify()

    def close(self) -> None:
        """Called by the hub when the process ends: no more will come."""
        with self._news:
            self.closed = True
            self._news.notify()


class _Feed:
    """One followed job: where the hub has read to, and for whom."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.readers: set[Subscription] = set()


class EventHub:
    """Follows every job that has a reader with one connection and one read for all that rang.

    Only the hub moves a feed's cursor, and it delivers what it reads to every reader that the
    feed has at that moment; a reader registers first and catches up then. So nothing falls
    between the two, and what comes twice has a known id.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._feeds: dict[str, _Feed] = {}
        self._waiters: dict[str, set[threading.Event]] = {}
        self._thread: threading.Thread | None = None
        self._unread = False
        self.closing = threading.Event()

    @contextmanager
    def subscribe(self, job_id: str, after: str = FROM_START) -> Iterator[Subscription]:
        """Follow a job for the length of a block."""
        reader = Subscription(self, job_id, after)
        with self._lock:
            self._feeds.setdefault(job_id, _Feed(after)).readers.add(reader)
            self._start()
        if self.closing.is_set():
            reader.close()
        try:
            yield reader
        finally:
            with self._lock:
                feed = self._feeds[job_id]
                feed.readers.discard(reader)
                if not feed.readers:
                    del self._feeds[job_id]

    @contextmanager
    def end_of(self, job_id: str) -> Iterator[threading.Event]:
        """What is set, for the length of a block, whenever the job may have ended.

        Also when the process is about to end. Its stream is not read.
        """
        rung = threading.Event()
        with self._lock:
            self._waiters.setdefault(job_id, set()).add(rung)
            self._start()
        if self.closing.is_set():
            rung.set()
        try:
            yield rung
        finally:
            with self._lock:
                waiters = self._waiters[job_id]
                waiters.discard(rung)
                if not waiters:
                    del self._waiters[job_id]

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()

    def read(self, job_id: str, after: str) -> list[Event]:
        """Everything in a job's stream behind ``after``. Raises StoreUnavailableError."""
        found: list[Event] = []
        while True:
            part = self._store.read_events({job_id: after})[job_id]
            found += part
            if len(part) < EVENTS_AT_ONCE:
                return found
            after = part[-1].id

    def close(self) -> None:
        """Let every reader end, now; the process is about to."""
        self.closing.set()
        for reader in self._readers():
            reader.close()
        self._ring(None)

    @property
    def readers(self) -> int:
        """How many follow a job now."""
        return len(self._readers())

    def _run(self) -> None:
        with closing(self._store.subscribe()) as bell:
            swept_s = time.monotonic()
            while not self.closing.is_set():
                rung = self._listen(bell)
                self._ring(rung)
                now_s = time.monotonic()
                if rung is None:
                    for reader in self._readers():
                        reader.lag()
                elif not rung or now_s - swept_s > BUSY_SWEEP_S:
                    swept_s = now_s
                    self._deliver(self._followed(None))
                else:
                    self._deliver(self._followed(rung))

    def _listen(self, bell: WakeUps) -> set[str] | None:
        """The jobs that rang, many rings at once; None when any may have been missed."""
        rung = bell.wait(QUIET_SWEEP_S)
        more = rung
        for _ in range(_MAX_RINGS_A_READ):
            if not more or rung is None:
                break
            more = bell.wait(0.0)
            rung = None if more is None else rung | more
        return rung

    def _ring(self, rung: Collection[str] | None) -> None:
        """Tell those who wait for an end that it may have come."""
        with self._lock:
            ended = set(self._waiters)
            if rung is not None:
                ended &= {ring.rstrip(ENDED) for ring in rung if ring.endswith(ENDED)}
            for job_id in ended:
                for event in self._waiters[job_id]:
                    event.set()

    def _readers(self) -> list[Subscription]:
        with self._lock:
            return [reader for feed in self._feeds.values() for reader in feed.readers]

    def _followed(self, rung: Collection[str] | None) -> list[str]:
        with self._lock:  # of both, the rung ones are few
            if rung is None:
                return list(self._feeds)
            return list({ring.rstrip(ENDED) for ring in rung} & self._feeds.keys())

    def _deliver(self, job_ids: list[str]) -> None:
        for start in range(0, len(job_ids), _MAX_JOBS_A_READ):
            with self._lock:
                wanted = {
                    job_id: self._feeds[job_id].cursor
                    for job_id in job_ids[start : start + _MAX_JOBS_A_READ]
                    if job_id in self._feeds
                }
            try:
                read = self._store.read_events(wanted) if wanted else {}
            except StoreUnavailableError as error:
                if not self._unread:
                    _log.warning("events.unread", jobs=len(wanted), error=error.detail)
                self._unread = True
                return  # no cursor has moved: the next sweep reads the same
            if self._unread and wanted:
                _log.info("events.read_again", jobs=len(wanted))
            self._unread = self._unread and not wanted
            for job_id, events in read.items():
                if events:
                    self._hand_out(job_id, wanted[job_id], events)

    def _hand_out(self, job_id: str, read_from: str, events: list[Event]) -> None:
        with self._lock:
            feed = self._feeds.get(job_id)
            # A feed that ended and began anew meanwhile has its own cursor.
            if feed is None or feed.cursor != read_from:
                return
            feed.cursor = events[-1].id
            readers = list(feed.readers)
        for reader in readers:
            reader.deliver(events)
