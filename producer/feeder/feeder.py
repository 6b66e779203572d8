"""Leases batches and takes them further, all in turn."""

import math
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from contract.batch import LeaseLostError
from contract.errors import MillraceError
from contract.store import ENDED, WakeUps
from producer.feeder.batch_run import BatchRun, Parts

#: How often the record of each batch is looked at, and a new one looked for.
LOOK_S = 1.0
#: Jobs are looked at this often even if nothing rang, in case a ring was missed.
SWEEP_S = 5.0
#: Batches that one feeder takes at once.
MOST_BATCHES = 32
#: After an error that may pass, a batch is taken up again when so much time is over.
PAUSE_S = 5.0
#: Jobs of batches that wait or run, for each slot: enough for the slots never to wait for a feeder.
JOBS_PER_SLOT = 1.5
LEAST_ROOM = 4
#: How many are let through while nobody serves the model.
UNSERVED_ROOM = 16
#: When there are more batches than one feeder takes, one that nobody serves steps back for so long.
UNSERVED_PAUSE_S = 60.0
_WAIT_S = 0.25

_log = structlog.get_logger()


class Feeder:
    """Feeds the batches that it holds until it is told to stop.

    Any number of feeders may run. The batches of one that dies are taken up by another when its
    leases are over.
    """

    def __init__(self, parts: Parts, sweep: Callable[[], None] = lambda: None) -> None:
        self._parts = parts
        self._sweep = sweep
        self._runs: dict[str, BatchRun] = {}
        self._bell: WakeUps | None = None
        self._open = 0
        self._looked_s = self._swept_s = -math.inf

    def run(self, stopping: threading.Event) -> None:
        """Feed until ``stopping`` is set; what was begun is left for another."""
        while not stopping.is_set():
            if not self.turn():
                self._wait(stopping)
        for run in list(self._runs.values()):
            self._drop(run, pause_s=0.0)
        self._listen()

    def turn(self) -> bool:
        """A step of each batch; whether something moved."""
        moved = False
        self._look()
        for run in list(self._runs.values()):
            self._look()  # steps are short, but there may be many
            if run.id not in self._runs:
                continue
            try:
                step = run.step()
            except LeaseLostError as error:
                _log.warning("batch.lost", batch=run.id, error=error.detail)
                del self._runs[run.id]
            except MillraceError as error:
                _log.warning("batch.paused", batch=run.id, code=error.code, error=error.detail)
                self._drop(run, pause_s=PAUSE_S)
            except Exception:  # noqa: BLE001
                # A bug of ours, which must not cost the other batches their feeder. The lease is
                # left to run out, which counts against this batch alone.
                _log.exception("batch.crashed", batch=run.id)
                del self._runs[run.id]
            else:
                if step is None:
                    del self._runs[run.id]
                moved = moved or bool(step)
        return moved

    def _look(self) -> None:
        """What is due once a second, if it is."""
        if self._parts.clock_s() - self._looked_s < LOOK_S:
            return
        self._looked_s = self._parts.clock_s()
        try:
            self._keep()
            self._take()
            self._share()
            self._sweep()
        except MillraceError as error:
            _log.warning("batches.unread", code=error.code, error=error.detail)

    def _keep(self) -> None:
        for run in list(self._runs.values()):
            try:
                state, self._open = self._parts.batches.keep(run.leased)
                run.note_state(state)
            except LeaseLostError as error:
                _log.warning("batch.lost", batch=run.id, error=error.detail)
                del self._runs[run.id]

    def _take(self) -> None:
        while len(self._runs) < MOST_BATCHES:
            leased = self._parts.batches.lease()
            if leased is None:
                return
            _log.info("batch.leased", batch=leased.batch.id, attempt=leased.attempt)
            self._runs[leased.batch.id] = BatchRun(leased, self._parts)
            self._open = max(self._open, len(self._runs))

    def _share(self) -> None:
        """Let the batches of a model share its slots evenly, whoever feeds them."""
        if not self._runs:
            return
        slots = {f"{q.model}:{q.model_version}": q.slots for q in self._parts.store.queues()}
        others = max(self._open / len(self._runs), 1.0)
        for run in list(self._runs.values()):
            sharing = others * sum(each.model == run.model for each in self._runs.values())
            served = slots.get(run.model or "", 0)
            fair = math.ceil(served * JOBS_PER_SLOT / sharing) if served else UNSERVED_ROOM
            run.room = max(fair, LEAST_ROOM)
            if not served and run.model and len(self._runs) >= MOST_BATCHES:
                self._drop(run, pause_s=UNSERVED_PAUSE_S)  # others may be able to go on

    def _wait(self, stopping: threading.Event) -> None:
        """Until a job has ended, or for a moment."""
        bell = self._listen()
        if bell is None:
            stopping.wait(LOOK_S)
            return
        rung = bell.wait(_WAIT_S)
        now_s = self._parts.clock_s()
        if rung is None or now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            ended = None
        else:
            ended = {each.removesuffix(ENDED) for each in rung if each.endswith(ENDED)}
        for run in self._runs.values():
            run.note_ended(ended)

    def _listen(self) -> WakeUps | None:
        """The doorbell of all jobs, while there are batches."""
        if self._runs and self._bell is None:
            self._bell = self._parts.store.subscribe()
        elif not self._runs and self._bell is not None:
            self._bell.close()
            self._bell = None
        return self._bell

    def _drop(self, run: BatchRun, *, pause_s: float) -> None:
        del self._runs[run.id]
        with suppress(MillraceError):  # the lease runs out by itself
            run.leave(pause_s=pause_s)
