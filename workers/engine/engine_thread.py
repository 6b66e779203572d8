"""The thread that owns an engine: what is not thread-safe is touched from here alone."""

import atexit
import queue
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

import structlog

from contract.errors import EngineError, EngineFailedError, MillraceError
from workers.engine.requests import OnText
from workers.engine.run import Run

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")
_RunT = TypeVar("_RunT", contravariant=True)

_IDLE_S = 0.25
_log = structlog.get_logger()


class Stepper(Protocol[_RunT]):
    """The work of an engine in bounded pieces. Made, used and closed on the engine's thread."""

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""

    @property
    def running(self) -> int:
        """The number of runs that are in the batch now."""

    def add(self, run: _RunT) -> None:
        """Take a run; it ends by itself in some later step."""

    def step(self) -> None:
        """Do one piece of work. An exception means that the engine is beyond use."""

    def close(self) -> None:
        """Let go of everything."""


class EngineThread(ABC, Generic[RequestT, ResultT]):
    """An engine: runs a stepper on a thread of its own and carries runs to it.

    Args:
        name: of the thread, and in the log.
        open_stepper: makes the stepper, on the thread; what it raises, the constructor raises.
        slots: how many runs the stepper works on at once.
    """

    def __init__(
        self,
        name: str,
        open_stepper: Callable[[], Stepper[Run[RequestT, ResultT]]],
        *,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self.last_tick_s = clock()
        """Time of ``clock`` at the last turn of the loop, idle or not; old when a step hangs."""
        self.failure: EngineFailedError | None = None
        """Why the process must be replaced; None while the engine is healthy."""
        self._name = name
        self._clock = clock
        self._inbox: queue.SimpleQueue[Run[RequestT, ResultT] | None] = queue.SimpleQueue()
        self._live: set[Run[RequestT, ResultT]] = set()
        self._lock = threading.Lock()
        self._ended: MillraceError | None = None
        self._closing = threading.Event()
        self._stepper: Stepper[Run[RequestT, ResultT]] | None = None
        opened: Future[None] = Future()
        # A daemon, so that a hung step cannot keep a process alive that wants to go.
        self._thread = threading.Thread(
            target=self._main, args=(open_stepper, opened), name=name, daemon=True
        )
        self._thread.start()
        opened.result()
        # Native code must not be running when the interpreter is taken down around it.
        atexit.register(self.close)

    @property
    def running(self) -> int:
        """Runs in the batch now."""
        return self._stepper.running if self._stepper else 0

    @property
    def pending(self) -> int:
        """Runs that were submitted and have not ended, those in the batch included."""
        return len(self._live)

    @abstractmethod
    def prompt(
        self,
        stored_input: Mapping[str, Any],
        parameters: Mapping[str, Any],
        *,
        seed: int | None = None,
    ) -> RequestT:
        """The request for a stored input; tokenizes on the caller's thread.

        Raises:
            EmptyPromptError: there is no text.
            PromptTooLongError: it has more tokens than the model takes.
        """

    def submit(
        self, request: RequestT, on_text: OnText | None = None, *, priority: int = 0
    ) -> Run[RequestT, ResultT]:
        """Hand a request over; a failure of whatever kind is found in the run's result.

        Where runs must wait for room, those of ``priority`` 0 are the first to enter.
        """
        run: Run[RequestT, ResultT] = Run(request, on_text, priority=priority)
        with self._lock:
            ended = self._ended
            if ended is None:
                self._live.add(run)
                self._inbox.put(run)
        if ended is not None:
            run.fail(ended)
        else:
            run.when_done(lambda: self._live.discard(run))
        return run

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop after the step in progress and fail what is unfinished. May be called twice."""
        atexit.unregister(self.close)
        self._closing.set()
        self._inbox.put(None)
        self._thread.join(timeout_s)
        # The loop has done this, unless it hangs; whoever waits for a result must not.
        self._end(EngineError("the engine was closed before the run ended"))

    def _main(
        self,
        open_stepper: Callable[[], Stepper[Run[RequestT, ResultT]]],
        opened: "Future[None]",
    ) -> None:
        try:
            self._stepper = stepper = open_stepper()
            opened.set_result(None)
            while not self._closing.is_set():
                self.last_tick_s = self._clock()
                self._receive(stepper)
                if stepper.busy:
                    stepper.step()
        except Exception as error:  # noqa: BLE001  (the engine's one outer edge)
            if not opened.done():
                opened.set_exception(error)
                return
            self._fail(error)
        self._end(EngineError("the engine was closed before the run ended"))
        stepper.close()
        self._stepper = None

    def _receive(self, stepper: Stepper[Any]) -> None:
        """Pass on what has arrived; an idle engine waits for it, but not for long."""
        try:
            run = self._inbox.get_nowait() if stepper.busy else self._inbox.get(timeout=_IDLE_S)
            while True:
                if run is not None:
                    stepper.add(run)
                run = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _fail(self, error: Exception) -> None:
        # What the step had in hand is let go of: when memory ran out, the last words need some.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, EngineFailedError):
            self.failure = error
        else:
            self.failure = EngineFailedError(f"a step of {self._name} failed: {error!r}")
            self.failure.__cause__ = error
        _log.error("engine.failed", engine=self._name, error=self.failure.detail)
        self._end(self.failure)

    def _end(self, error: MillraceError) -> None:
        """From now on every run fails with ``error``; the first call counts."""
        with self._lock:
            if self._ended is None:
                self._ended = error
            unfinished = list(self._live)
        for run in unfinished:
            run.fail(self._ended)
