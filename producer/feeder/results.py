"""What came of a batch's lines, in the storage: in segments first, in two files at last."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from contract.errors import StorageUnavailableError
from producer.storage import FileStorage

#: A segment is written when it has so many results or bytes, or its oldest is so old.
SEGMENT_LINES = 256
SEGMENT_BYTES = 8 << 20
SEGMENT_S = 10.0
#: Lines, or bytes of them, that are taken in one go; some 10 ms.
LINES_AT_ONCE = 200
BYTES_AT_ONCE = 1 << 20

OUTPUT, ERRORS = "output", "errors"
#: What responses call the tokens that other calls count.
_SAME = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of the lines so far: how many are what, and tokens by kind."""

    completed: int = 0
    failed: int = 0
    not_run: int = 0
    usage: dict[str, int] = field(default_factory=dict)

    @property
    def all(self) -> int:
        """Lines with a result."""
        return self.completed + self.failed + self.not_run

    def add(self, result: Mapping[str, Any]) -> None:
        """Count one result."""
        response = result["response"]
        if response is None:
            self.not_run += 1
            return
        if response["status_code"] != 200:
            self.failed += 1
            return
        self.completed += 1
        usage = response["body"].get("usage") or {}
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        for name, tokens in {**usage, **details}.items():
            if isinstance(tokens, int):
                same = _SAME.get(name, name)
                self.usage[same] = self.usage.get(same, 0) + tokens


class Results:
    """The results of one batch, as one attempt of a feeder adds to them.

    A segment is never changed. What an attempt wrote that did not know of a later one stands
    beside the later one's segments; a line that is in both counts once.
    """

    def __init__(
        self,
        storage: FileStorage,
        batch_id: str,
        attempt: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._folder = f"batches/{batch_id}"
        self._attempt = attempt
        self._clock_s = clock_s
        self._written = 0
        self._waiting: list[tuple[str, bytes]] = []
        self._bytes = 0
        self._oldest_s = 0.0
        self.tally = Tally()

    def known(self) -> Iterator[str | None]:
        """The custom ids of all lines with a result; a None now and then lets others have a turn.

        Counts them.
        """
        seen: set[str] = set()
        for _, result in self._read():
            if result is None:
                yield None
            elif result["custom_id"] not in seen:
                seen.add(result["custom_id"])
                self.tally.add(result)
                yield result["custom_id"]

    def add(self, result: Mapping[str, Any]) -> None:
        """Keep one result, in memory until the next ``write``."""
        if not self._waiting:
            self._oldest_s = self._clock_s()
        response = result["response"]
        kind = OUTPUT if response is not None and response["status_code"] == 200 else ERRORS
        line = _line(result)
        self._waiting.append((kind, line))
        self._bytes += len(line)
        self.tally.add(result)

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        if not self._waiting:
            return False
        old = self._clock_s() - self._oldest_s >= SEGMENT_S
        return old or len(self._waiting) >= SEGMENT_LINES or self._bytes >= SEGMENT_BYTES

    def write(self) -> None:
        """Write what waits. Raises StorageUnavailableError; then all of it still waits."""
        if not self._waiting:
            return
        for kind in (OUTPUT, ERRORS):
            lines = [line for each, line in self._waiting if each == kind]
            if lines:
                name = f"{self._folder}/{self._attempt:06}-{self._written:06}.{kind}.jsonl"
                with self._storage.write(name) as stream:
                    stream.writelines(lines)
        self._written += 1
        self._waiting.clear()
        self._bytes = 0

    def join(self, targets: Mapping[str, str]) -> Iterator[Mapping[str, int]]:
        """Write all output to ``targets[OUTPUT]``, all errors to ``targets[ERRORS]``; count anew.

        Yields now and then, to let others have a turn; last, the bytes of each that was made. One
        without lines is not.
        """
        self.tally = Tally()
        sizes: dict[str, int] = {}
        seen: set[str] = set()
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for kind, result in self._read():
                if kind not in files:
                    files[kind] = stack.enter_context(self._storage.write(targets[kind]))
                if result is None:
                    yield {}
                elif result["custom_id"] not in seen:
                    seen.add(result["custom_id"])
                    self.tally.add(result)
                    line = _line(result)
                    files[kind].write(line)
                    sizes[kind] = sizes.get(kind, 0) + len(line)
        yield sizes

    def clear(self) -> None:
        """Delete the segments."""
        self._storage.delete(self._folder)

    def _read(self) -> Iterator[tuple[str, Any]]:
        """The kind and the result of each line; in the place of a result now and then None.

        Raises:
            StorageUnavailableError: also when a segment goes away: another attempt has joined them.
        """
        for name in self._storage.below(self._folder):
            kind, left_lines, left_bytes = name.split(".")[-2], LINES_AT_ONCE, BYTES_AT_ONCE
            try:
                for raw in self._storage.lines(name):
                    yield kind, json.loads(raw)
                    left_lines, left_bytes = left_lines - 1, left_bytes - len(raw)
                    if left_lines <= 0 or left_bytes <= 0:
                        left_lines, left_bytes = LINES_AT_ONCE, BYTES_AT_ONCE
                        yield kind, None
            except FileNotFoundError as error:
                raise StorageUnavailableError(f"the segment {name} is gone") from error
            yield kind, None


def _line(result: Mapping[str, Any]) -> bytes:
    return json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
