"""Whether Redis still is the one that this process knows, and takes jobs.

The store has an id, and a counter that only grows.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from contract.errors import StoreReplacedError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a process knew when it asked Redis something. ``falls`` counts drops of ``sequence``."""

    id: str
    sequence: int
    falls: int


class StoreIdentity:
    """What one process has seen of the store, which carries an id.

    The id is made for the first job, by a process that finds none and has never seen one. One that
    knows an id and finds another, or none, knows that the jobs are gone: somebody emptied Redis,
    or started it without its append-only file. Until the right store is back, or an operator
    restarts the process, that is said loudly and nothing is accepted.

    Args:
        run: calls a script by its name.
    """

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._seen = Seen(id="", sequence=0, falls=0)
        self._replaced = False
        self.refusal = ""
        """Why Redis answers but takes no write, as of the last look: no memory, no disk; or ""."""
        self.reaped_ms_ago: int | None = None
        """When a reaper last did its work, as of the last look; None: never."""

    @property
    def seen(self) -> Seen:
        """What is known now; ``id`` is "" before the first look."""
        return self._seen

    def known(self) -> Seen:
        """What is known now; a store that nobody knows gets an id. Raises StoreUnavailableError."""
        if not self._seen.id:
            self._ask(self._seen, uuid.uuid4().hex)
        return self._seen

    def look(self) -> bool:
        """Ask Redis; whether it is the store that this process knows.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        return self._ask(self._seen, "")

    def _ask(self, before: Seen, new_id: str) -> bool:
        found, sequence, refusal, reaped_ms_ago = self._run("identify", new_id)
        self._note_refusal(refusal)
        self.reaped_ms_ago = None if reaped_ms_ago == "" else int(reaped_ms_ago)
        return self.note(before, found, sequence)

    def _note_refusal(self, refusal: str) -> None:
        with self._lock:
            before, self.refusal = self.refusal, refusal
        if refusal and not before:
            _log.error("store.refuses", error=refusal)
        elif before and not refusal:
            _log.info("store.accepts")

    def require(self) -> None:
        """Ask Redis. Raises StoreReplacedError when it is another store."""
        if not self.look():
            raise StoreReplacedError(
                "Redis lost its jobs: it is not the store that this process knows; restore its"
                " data, or restart the web processes to begin anew"
            )

    def note(self, before: Seen, found: str, sequence: int) -> bool:
        """Take in an answer of Redis to a question that was asked when ``before`` was known.

        Answers may come in another order than they were given, so ``sequence`` is held against
        what was known before the question.
        """
        with self._lock:
            known = self._seen
            if not known.id:
                self._seen = Seen(id=found, sequence=sequence, falls=0)
                return True
            if not found and not before.id:
                return True  # it was asked before there was an id
            if found != known.id:
                if not self._replaced:
                    _log.error("store.replaced", known=known.id, found=found or None)
                self._replaced = True
                return False
            if self._replaced:
                _log.info("store.restored", known=known.id)
            self._replaced = False
            falls = known.falls
            if before.falls == falls:  # else it says nothing new
                fell = sequence < before.sequence
                if fell:
                    _log.error("store.went_back", lost=known.sequence - sequence)
                newest = sequence if fell else max(known.sequence, sequence)
                self._seen = Seen(id=known.id, sequence=newest, falls=falls + fell)
            return True
