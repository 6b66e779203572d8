"""A file with a job on each line."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.errors import InvalidRequestError

_MOST_WRONG = 10  # lines that one message names
_TYPES = {list: "an array", str: "a string", bool: "a truth value", type(None): "null"}

Line = tuple[int, Any]  # its number in the file, from 1, and what is on it


def read_lines(file: Path, *, as_text: bool) -> list[Line]:
    """What each line of ``file`` ("-": stdin) asks for: a prompt, or a job in JSON.

    Raises:
        InvalidRequestError: naming the lines that say neither.
    """
    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    found: list[Line] = []
    wrong: list[str] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                found.append((number, _read(line, as_text)))
            except InvalidRequestError as error:
                wrong.append(f"line {number} {error.detail}")
    if wrong:
        more = f" (and {len(wrong) - _MOST_WRONG} more)" if len(wrong) > _MOST_WRONG else ""
        told = "; ".join(wrong[:_MOST_WRONG])
        raise InvalidRequestError(f"{file}: {told}{more}; nothing was submitted")
    if not found:
        raise InvalidRequestError(f"{file} has no jobs: every line is blank")
    return found


def _read(line: bytes, as_text: bool) -> Any:
    try:
        text = line.decode("utf-8").rstrip("\r")
        if as_text:
            return text
        job = json.loads(text)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"is not UTF-8 text: {error.reason}") from error
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"is not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("is not JSON that can be read") from error
    if not isinstance(job, Mapping):
        raise InvalidRequestError(f"is {_TYPES.get(type(job), 'a number')}, not a JSON object")
    return job
