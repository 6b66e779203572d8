"""The front's side of the token counting helper."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """One answer. ``counts`` is None when the helper could not tell; ``refused`` says why the
    model's own template does not take the input; ``timed_out`` that counting was given up."""

    counts: tuple[int, ...] | None = None
    refused: str | None = None
    timed_out: bool = False


class _Line:
    """Our end of the socket to the helper: JSON objects, one a line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = b""

    def send(self, line: bytes, limit_s: float) -> None:
        self._end.settimeout(limit_s)
        self._end.sendall(line)

    def receive(self, limit_s: float) -> dict[str, Any]:
        """The next object. Raises TimeoutError, OSError when the helper ended, ValueError."""
        due_s = time.monotonic() + limit_s
        while b"\n" not in self._received:
            self._end.settimeout(max(due_s - time.monotonic(), 0.001))
            part = self._end.recv(65536)
            if not part:
                raise OSError("the helper ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._end.close()


class TokenCounter:
    """Counts tokens in one helper process that is started when first needed.

    The helper says when it has loaded the tokenizer, within ``start_s``, and then has
    ``limit_s`` to count; else it is killed, and started anew for the next question. Questions
    wait for each other, within reason. A socket is the line between the two: its timeout works
    the same under gevent and under threads.
    """

    def __init__(
        self,
        *,
        limit_s: float = 2.0,
        start_s: float = 10.0,
        command: Sequence[str] = (sys.executable, "-m", "producer.token_count"),
    ) -> None:
        self._limit_s = limit_s
        self._start_s = start_s
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: _Line | None = None

    def count(self, folder: Path, stored_input: Mapping[str, Any]) -> TokenCount:
        """The tokens of ``stored_input`` under the tokenizer of the version in ``folder``."""
        question = json.dumps({"folder": str(folder), "input": stored_input}).encode() + b"\n"
        if not self._turn.acquire(timeout=self._start_s):
            return TokenCount()
        try:
            return self._count(question)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            self._stop()
            _log.warning("token_count.failed", error=type(error).__name__)
            return TokenCount()
        finally:
            self._turn.release()

    @property
    def busy(self) -> bool:
        """Whether a question is being answered."""
        return self._turn.locked()

    def close(self) -> None:
        """End the helper process."""
        with self._turn:
            self._stop()

    def _count(self, question: bytes) -> TokenCount:
        line = self._line
        if line is None or self._process is None or self._process.poll() is not None:
            line = self._start()
        line.send(question, self._start_s)
        line.receive(self._start_s)  # the tokenizer is loaded
        try:
            answer = line.receive(self._limit_s)
        except TimeoutError:
            self._stop()
            _log.warning("token_count.killed", limit_s=self._limit_s)
            return TokenCount(timed_out=True)
        if "refused" in answer:
            return TokenCount(refused=str(answer["refused"]))
        return TokenCount(counts=tuple(int(each) for each in answer.get("counts", ())) or None)

    def _start(self) -> _Line:
        self._stop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                self._command, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        self._line = _Line(ours)
        return self._line

    def _stop(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line = self._process = None
