"""How a failure is told, and the exit code that it ends with."""

import json
import sys

from contract.errors import (
    InvalidRequestError,
    MillraceError,
    ServerUnreachableError,
    SettingsError,
)

OK = 0
FAILED = 1  # the job, a check or the command failed
USAGE = 2  # the command line or a setting is wrong
UNREACHABLE = 3  # no Millrace answers
TRY_LATER = 4  # refused or not ready for now; the same command may succeed later
INTERRUPTED = 130  # Ctrl-C

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the job, a check or the command failed
  2  the command line or a MILLRACE_ setting is wrong
  3  no Millrace answers at the URL
  4  refused or unfinished for now: the same command may succeed later
  130  interrupted
"""


def exit_code(error: MillraceError) -> int:
    """The code of a command that ends with ``error``."""
    if isinstance(error, SettingsError):
        return USAGE
    if isinstance(error, ServerUnreachableError):
        return UNREACHABLE
    return TRY_LATER if error.retryable else FAILED


def tell(error: MillraceError, *, as_json: bool) -> None:
    """Write one line on stderr: for people, or ``{code, detail, retryable}``."""
    detail = one_line(error)
    if as_json:
        tell_plain(error.code, detail, retryable=error.retryable, as_json=True)
    else:
        print(f"millrace: {detail}", file=sys.stderr)


def tell_plain(code: str, detail: str, *, retryable: bool = False, as_json: bool) -> None:
    """The same for a failure that is not in the tree, such as a wrong command line."""
    if as_json:
        record = {"code": code, "detail": detail, "retryable": retryable}
        print(json.dumps(record, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"millrace: {detail}", file=sys.stderr)


def one_line(error: MillraceError) -> str:
    """What was wrong, with the places that the detail leaves out."""
    errors = error.errors if isinstance(error, InvalidRequestError) else ()
    unsaid = [each for each in errors if each.detail not in error.detail]
    if not unsaid:
        return error.detail
    places = "; ".join(f"{each.pointer or '/'} {each.detail}" for each in unsaid)
    return f"{error.detail} ({places})"
