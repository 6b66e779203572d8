"""The ``Prefer`` header (RFC 7240), of which ``wait`` means something here."""

import re
from dataclasses import dataclass

from producer.request_schemas import MAX_WAIT_S, PreferHeaders, WaitQuery

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long to wait for a job's end; None is not at all. ``applied`` answers the header."""

    seconds: float | None = None
    applied: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What the response says about it."""
        return {} if self.applied is None else {"Preference-Applied": self.applied}


def read_wait(query: WaitQuery | None, headers: PreferHeaders) -> Wait:
    """The wait that a request asks for; its query goes before its header.

    What a preference does not say well is ignored, as the RFC wants.
    """
    if query is not None and query.wait is not None:
        return Wait(seconds=query.wait)
    for preference in (headers.prefer or "").split(","):
        match = _WAIT.fullmatch(preference)
        if match:
            seconds = min(int(match[1]), MAX_WAIT_S)
            return Wait(seconds=seconds, applied=f"wait={seconds}")
    return Wait()
