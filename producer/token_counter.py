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


class TokenCounter:
    """Counts tokens in one helper process that is started when first needed.

    The process is killed when an answer takes longer than ``limit_s`` (its first one, which
    includes loading the library, ``start_s`` more) and started anew for the next question.
    Questions wait for each other. A socket is its line: a socket's timeout works the same under
    gevent and under threads.
    """

    def __init__(
        self,
        *,
        limit_s: float = 2.0,
        start_s: float = 8.0,
        command: Sequence[str] = (sys.executable, "-m", "producer.token_count"),
    ) -> None:
        self._limit_s = limit_s
        self._start_s = start_s
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def count(self, folder: Path, stored_input: Mapping[str, Any]) -> TokenCount:
        """The tokens of ``stored_input`` under the tokenizer of the version in ``folder``."""
        question = {"folder": str(folder), "input": stored_input}
        with self._turn:
            fresh = self._process is None or self._process.poll() is not None
            limit_s = self._limit_s + (self._start_s if fresh else 0.0)
            try:
                answer = self._ask(json.dumps(question).encode() + b"\n", limit_s, fresh)
            except TimeoutError:
                self._stop()
                _log.warning("token_count.killed", limit_s=limit_s)
                return TokenCount(timed_out=True)
            except (OSError, ValueError) as error:
                self._stop()
                _log.warning("token_count.failed", error=type(error).__name__)
                return TokenCount()
        if "refused" in answer:
            return TokenCount(refused=str(answer["refused"]))
        return TokenCount(counts=tuple(int(each) for each in answer["counts"]))

    def close(self) -> None:
        """End the helper process."""
        with self._turn:
            self._stop()

    def _ask(self, question: bytes, limit_s: float, fresh: bool) -> dict[str, Any]:
        due_s = time.monotonic() + limit_s
        if fresh:
            self._start()
        line = self._line
        if line is None:
            raise OSError("the helper has no line")
        line.settimeout(limit_s)
        line.sendall(question)
        answer = b""
        while not answer.endswith(b"\n"):
            left_s = due_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            line.settimeout(left_s)
            part = line.recv(65536)
            if not part:
                raise OSError("the helper ended")
            answer += part
        found: dict[str, Any] = json.loads(answer)
        return found

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                self._command, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        self._line = ours

    def _stop(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line = self._process = None
