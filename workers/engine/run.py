"""One request inside an engine, seen from both sides of the thread boundary."""

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

from contract.errors import MillraceError, RunCancelledError
from workers.engine.requests import OnText

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class Run(Generic[RequestT, ResultT]):
    """A request on its way to a result. It ends exactly once; a later end is ignored."""

    def __init__(
        self, request: RequestT, on_text: OnText | None = None, *, priority: int = 0
    ) -> None:
        self.request = request
        self.priority = priority
        """Its class in the line of those that wait to enter the batch; 0 is the most urgent."""
        self.on_text = on_text
        self._cancelled = False
        self._future: Future[ResultT] = Future()

    # Called by whoever waits for the result.

    def result(self, timeout_s: float | None = None) -> ResultT:
        """Wait for the result.

        Raises:
            TimeoutError: it is not there after ``timeout_s``; the run goes on.
            RunCancelledError: ``cancel`` was called first.
            EngineError: the engine could not run the request; EngineFailedError when the engine
                itself is beyond use.
        """
        return self._future.result(timeout_s)

    def cancel(self) -> None:
        """Ask the engine to stop; it does within one step. Safe from any thread."""
        self._cancelled = True

    @property
    def done(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self._future.done()

    # Called by the engine.

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def complete(self, result: ResultT) -> None:
        """End with a result."""
        with suppress(InvalidStateError):  # ended by another hand, such as a close
            self._future.set_result(result)

    def fail(self, error: MillraceError) -> None:
        """End with an error."""
        with suppress(InvalidStateError):
            self._future.set_exception(error)

    def drop(self) -> None:
        """End as cancelled."""
        self.fail(RunCancelledError("the run was cancelled"))

    def when_done(self, action: Callable[[], None]) -> None:
        """Call ``action`` when the run ends, at once if it has."""
        self._future.add_done_callback(lambda _: action())
