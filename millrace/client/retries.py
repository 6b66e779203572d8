"""When to try again, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter, never shorter than what the server asks for.

    ``retries`` counts tries after the first; a server that has answered before gets twice as many,
    for it may be on its way back from a restart. ``longest_s`` bounds one pause: a server that asks
    for more is taken at its word by giving up at once.
    """

    retries: int = 4
    first_s: float = 0.2
    cap_s: float = 5.0
    longest_s: float = 120.0
    draw: Callable[[], float] = random.random

    def pause_s(
        self, failures: int, retry_after_s: float | None = None, *, known: bool = False
    ) -> float | None:
        """Seconds to wait after the ``failures``-th failure in a row (from 1), None to give up.

        ``known`` says that the server has answered before.
        """
        if failures > self.retries * (2 if known else 1):
            return None
        backoff = min(self.cap_s, self.first_s * 2 ** (failures - 1))
        pause = max(backoff * (0.5 + 0.5 * self.draw()), retry_after_s or 0.0)
        return pause if pause <= self.longest_s else None
