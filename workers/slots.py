"""A worker's slots: which are taken, and which hints came for none."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping


class Slot:
    """A place in the batch of one queue's engine, held by one thread for job after job."""

    def __init__(self, queue: str) -> None:
        self.queue = queue


class Slots:
    """Hands out slots, and makes sure that no job waits for one that is free (docs/adr/0012).

    A slot that ends a job claims the next one itself, so a hint is only for a slot that is free.
    One that finds none, or only jobs that must not join the present batch, is *owed*: when a claim
    succeeds again, so many hints go out as slots are free then. Hints are anonymous.

    Args:
        sizes: slots by queue.
        hint: says so many times that a job waits in a queue.
    """

    def __init__(self, sizes: Mapping[str, int], hint: Callable[[str, int], None]) -> None:
        self._sizes = dict(sizes)
        self._hint = hint
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._owed: set[str] = set()

    def enter(self, queue: str) -> Slot | None:
        """A free slot of ``queue``; None when there is none: then its hint is owed."""
        with self._lock:
            if self._free(queue) <= 0:
                self._owed.add(queue)
                return None
            self._taken[queue] += 1
        return Slot(queue)

    def leave(self, slot: Slot) -> None:
        """Its thread goes."""
        with self._lock:
            self._taken[slot.queue] -= 1

    def open_to(self, slot: Slot) -> list[str]:
        """The queues whose jobs it may claim: its own, and each that has a free slot."""
        with self._lock:
            return [q for q in self._sizes if q == slot.queue or self._free(q) > 0]

    def owe(self, slot: Slot) -> None:
        """Its claim was blocked: jobs wait, and slots stay free."""
        with self._lock:
            self._owed.add(slot.queue)

    def found_none(self, queues: Iterable[str]) -> None:
        """A claim found no job in any of ``queues``: nothing is owed to them."""
        with self._lock:
            self._owed.difference_update(queues)

    def took(self, slot: Slot, queue: str) -> None:
        """Its claim brought a job of ``queue``."""
        with self._lock:
            due = {q: self._free(q) for q in self._owed if self._free(q) > 0}
            self._owed.difference_update(due)
            if queue != slot.queue:  # the slot that was meant is free, and jobs may wait for it
                due.setdefault(slot.queue, 1)
                self._taken[slot.queue] -= 1
                self._taken[queue] += 1
                slot.queue = queue
        for name, count in due.items():
            self._hint(name, count)

    def _free(self, queue: str) -> int:
        return self._sizes[queue] - self._taken[queue]
