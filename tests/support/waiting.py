"""Wait on conditions, never on the clock."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout_s: float = 10.0, every_s: float = 0.02) -> T:
    """The first truthy value of ``condition``; AssertionError when there is none in time."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {condition}, last value {value!r}")
        time.sleep(every_s)
