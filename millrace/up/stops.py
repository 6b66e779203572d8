"""Ctrl-C, SIGTERM and a closed terminal, as something that can be asked."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SAME_REQUEST_S = 0.3  # a parent such as make passes on the signal that a terminal sent to both


class StopRequests:
    """Counts the requests to stop that this process was sent, inside ``with``.

    They interrupt nothing, so that a stop never leaves half a step behind, except inside
    :meth:`interruptible`, where each raises KeyboardInterrupt.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._last_s = -_SAME_REQUEST_S
        self._raise = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup a closed terminal is to be survived.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block of work that a request to stop ends with KeyboardInterrupt."""
        if self.count:
            raise KeyboardInterrupt
        self._raise = True
        try:
            yield
        finally:
            self._raise = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now_s = self._clock()
        if now_s - self._last_s >= _SAME_REQUEST_S:
            self.count += 1
        self._last_s = now_s
        if self._raise:
            raise KeyboardInterrupt
