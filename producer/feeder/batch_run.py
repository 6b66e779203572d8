"""The life of one batch: look at its file, feed its lines, collect their results, make files."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import structlog

from contract.batch import ENDED, BatchState, LeasedBatch, LineError
from contract.errors import InvalidRequestError, MillraceError
from contract.store import BatchStore, FileStore, JobStore
from producer.admission import Admission
from producer.catalog import Catalog
from producer.feeder.input_file import InputFile
from producer.feeder.lines import FileCheck, Line
from producer.feeder.outcomes import line_key, not_run, refused
from producer.feeder.results import ERRORS, LINES_AT_ONCE, OUTPUT, Results
from producer.feeder.window import Fed, Window
from producer.openai.endpoints import ENDPOINTS
from producer.parsing import parse_body
from producer.storage import FileStorage

#: The least urgent: whoever waits for an answer goes before every batch.
PRIORITY = 9
#: An attempt that ends without a word is a feeder's death; so many in a row are the batch's fault.
MOST_FAILURES = 5
_TELL_S = 1.0
_FEEDER_FAILED = LineError(
    code="feeder_failed", message="the feeder failed on this batch again and again"
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every batch is fed with; made once for the process."""

    store: JobStore
    batches: BatchStore
    files: FileStore
    storage: FileStorage
    catalog: Catalog
    admission: Admission
    max_line_bytes: int
    file_ttl_s: float
    clock_s: Callable[[], float] = time.monotonic


class BatchRun:
    """One attempt at a batch, taken a step at a time; whoever dies on the way is succeeded.

    A line's job has an id that comes from the batch and the line, so no attempt runs one twice.
    ``room`` is how many of its jobs may wait or run at once.
    """

    def __init__(self, leased: LeasedBatch, parts: Parts) -> None:
        self.leased = leased
        self.room = 1
        self._parts = parts
        self._batch = leased.batch
        self._state = leased.batch.state
        self._endpoint = ENDPOINTS[leased.batch.endpoint]
        self._window = Window(parts.store, self._endpoint, parts.clock_s)
        self._results = Results(parts.storage, leased.batch.id, leased.attempt, parts.clock_s)
        self._collected: list[str] = []
        self._input = InputFile(leased.batch.input_file, parts.files, parts.storage)
        self._began_s = self._told_s = parts.clock_s()
        self._steps = self._live()

    @property
    def id(self) -> str:
        """The batch's."""
        return self._batch.id

    @property
    def model(self) -> str | None:
        """The version that answers, as NAME:VERSION, once that is known."""
        return self._batch.model

    def step(self) -> bool | None:
        """Do a little; whether something moved, or None when the batch has ended.

        Raises:
            MillraceError: this attempt cannot go on; a later one may.
        """
        return next(self._steps, None)

    def note_state(self, state: BatchState) -> None:
        """Called with what the record says now: somebody may have cancelled."""
        self._state = state

    def note_ended(self, job_ids: Collection[str] | None) -> None:
        """Called with jobs that may have ended, None: any."""
        self._window.note_ended(job_ids)

    def leave(self, *, pause_s: float) -> None:
        """Keep what has come, and let another attempt go on after ``pause_s``."""
        self._keep()
        self._parts.batches.leave(self.leased, pause_s=pause_s)

    def _live(self) -> Iterator[bool]:
        failures = self.leased.failures
        if failures >= 2 * MOST_FAILURES:
            self._fail(_FEEDER_FAILED)  # nor can files be made of its results
        elif failures >= MOST_FAILURES:
            yield from self._finish(_FEEDER_FAILED)
        elif self._state is BatchState.VALIDATING:
            yield from self._validate()
        if self._state in (BatchState.IN_PROGRESS, BatchState.CANCELLING) and self.model:
            yield from self._feed()
        if self._state not in ENDED:
            yield from self._finish(self._input.broken)
        _log.info("batch.ended", batch=self.id, state=self._state)

    def _validate(self) -> Iterator[bool]:
        parts = self._parts
        check = FileCheck(self._endpoint, parts.catalog, max_line_bytes=parts.max_line_bytes)
        for number, raw in enumerate(self._input.raw()):
            if check.full or self._state is BatchState.CANCELLING:
                break
            check.add(raw)
            if number % LINES_AT_ONCE == 0:
                yield True
        check.end()
        if self._state is BatchState.CANCELLING:
            return
        if self._input.broken is not None:
            self._fail(self._input.broken)
            return
        if check.errors:
            self._advance(BatchState.FAILED, errors=check.errors)
            return
        self._batch = replace(self._batch, model=check.model, total=check.total)
        self._advance(BatchState.IN_PROGRESS, model=check.model, total=check.total)

    def _feed(self) -> Iterator[bool]:
        done: set[str] = set()
        for custom_id in self._results.known():
            if custom_id is None:
                yield True
            else:
                done.add(custom_id)
        lines = self._input.lines(done)
        more = True
        while more or len(self._window):
            before = (len(self._window), self._results.tally.all, self._input.passed)
            if self._ending is BatchState.COMPLETED:
                more = more and self._take(lines)
                for result in self._window.submit(self._left_s):
                    self._results.add(result)
            else:
                more = more and self._leave_out(lines)
                for result in self._window.withdraw(self._ending):
                    self._results.add(result)
            for job_id, result in self._window.collect():
                self._results.add(result)
                self._collected.append(job_id)
            if self._results.due:
                self._keep()
            self._tell()
            yield before != (len(self._window), self._results.tally.all, self._input.passed)
        self._keep()

    def _finish(self, broken: LineError | None) -> Iterator[bool]:
        """Make files of what there is; a batch that is ``broken`` ends as failed."""
        if self._state is BatchState.IN_PROGRESS:
            self._advance(BatchState.FINALIZING)
        names = {kind: "file-" + line_key(self.id, f"/{kind}") for kind in (OUTPUT, ERRORS)}
        sizes: dict[str, int] = {}
        for made in self._results.join({kind: f"files/{name}" for kind, name in names.items()}):
            sizes.update(made)
            yield True
        for kind, size in sizes.items():
            self._parts.files.put(
                names[kind],
                name=f"{self.id}_{kind}.jsonl",
                purpose="batch_output",
                size=size,
                ttl_s=self._batch.output_ttl_s or self._parts.file_ttl_s,
            )
        tally = self._results.tally
        end = BatchState.EXPIRED if tally.not_run else BatchState.COMPLETED
        if broken is not None:
            end = BatchState.FAILED
        elif self._state is BatchState.CANCELLING:
            end = BatchState.CANCELLED
        self._advance(
            end,
            errors=[] if broken is None else [broken],
            output_file=names[OUTPUT] if OUTPUT in sizes else None,
            error_file=names[ERRORS] if ERRORS in sizes else None,
            completed=tally.completed,
            failed=tally.failed,
            usage=tally.usage,
        )
        self._results.clear()

    @property
    def _ending(self) -> BatchState:
        """The state in which the batch ends by what is known now."""
        if self._state is BatchState.CANCELLING:
            return BatchState.CANCELLED
        return BatchState.EXPIRED if self._left_s <= 0 else BatchState.COMPLETED

    @property
    def _left_s(self) -> float:
        passed_s = self._parts.clock_s() - self._began_s
        return (self._batch.deadline_ms - self.leased.now_ms) / 1000 - passed_s

    def _take(self, lines: Iterator[Line | None]) -> bool:
        """Let lines through until the window is full; whether there may be more."""
        while len(self._window) < self.room:
            try:
                line = next(lines)
            except StopIteration:
                return False
            if line is None:
                break
            fed = self._prepared(line)
            if fed is not None:
                self._window.add(fed)
        return True

    def _leave_out(self, lines: Iterator[Line | None]) -> bool:
        """Say of some lines that they were not run; whether there may be more.

        Those that an earlier attempt let through are under way, or have ended.
        """
        left = list(islice(lines, LINES_AT_ONCE))
        fed = [each for line in left if line is not None and (each := self._prepared(line))]
        for each in self._window.adopt(fed):
            self._results.add(not_run(each.custom_id, each.key, self._ending))
        return bool(left)

    def _prepared(self, line: Line) -> Fed | None:
        """The job of a line; None for one that is refused, which is its result."""
        try:
            return self._prepare(line)
        except MillraceError as error:
            key = line_key(self.id, line.custom_id)
            self._results.add(refused(line.custom_id, key, error))
            return None

    def _prepare(self, line: Line) -> Fed:
        """The job of a line. Raises what its call alone would be refused with."""
        if line.body.get("stream"):
            raise InvalidRequestError("the lines of a batch are not streamed: leave out 'stream'")
        raw = {**line.body, "model": self.model}
        body: Any = parse_body(self._endpoint.body, raw)
        natives = self._endpoint.native(body)
        if len(natives) > 1:
            raise InvalidRequestError("a line of a batch has one answer: ask for no more of it")
        new = self._parts.admission.prepare(natives[0], raw=raw)
        new = replace(
            new,
            id="job_" + line_key(self.id, line.custom_id),
            priority=PRIORITY,
            metadata={"batch": self.id, "custom_id": line.custom_id},
        )
        return Fed(custom_id=line.custom_id, body=body, new=new)

    def _keep(self) -> None:
        """Write the results that have come; then Redis need not hold them any more."""
        self._results.write()
        collected, self._collected = self._collected, []
        if collected:
            self._parts.store.forget(collected)
        self._tell(now=True)

    def _tell(self, *, now: bool = False) -> None:
        if now or self._parts.clock_s() - self._told_s >= _TELL_S:
            self._told_s = self._parts.clock_s()
            tally = self._results.tally
            self._advance(None, completed=tally.completed, failed=tally.failed)

    def _fail(self, error: LineError) -> None:
        self._advance(BatchState.FAILED, errors=[error])

    def _advance(self, state: BatchState | None, **fields: Any) -> None:
        before = self._state
        self._state = self._parts.batches.advance(self.leased, state, **fields)
        if self._state is not before:
            _log.info("batch.advanced", batch=self.id, state=self._state)
