"""The test's side of the process that reads model files for the fuzz tests."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_LIMIT_S = 20.0  # for one file of some kilobytes, on a machine that does other things too
_ENVIRON = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "0"}


class FuzzReader:
    """Has files read in another process, and fails when that answers with no error of ours."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def read(self, what: str, path: Path) -> str | None:
        """Have ``path`` read as ``what``; the code of the refusal, None when it was taken.

        Raises:
            AssertionError: a foreign exception, the end of the process, or no answer in time.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({"what": what, "path": str(path)}), file=process.stdin, flush=True)
        if not select.select([process.stdout], [], [], _LIMIT_S)[0]:
            self._stop()
            raise AssertionError(f"{what} gave no answer within {_LIMIT_S:g} s")
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._stop()
            raise AssertionError(f"{what} took its process down: exit status {status}")
        answer = json.loads(line)
        assert "foreign" not in answer, answer["foreign"]
        code: str | None = answer["code"]
        return code

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fuzz_target"],
                env={**os.environ, **_ENVIRON},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
