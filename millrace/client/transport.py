"""Requests that are tried again where that is safe, and answers turned into values or errors."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from contract.errors import (
    InvalidRequestError,
    MillraceError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from millrace.client.problems import problem_error, retry_after_s
from millrace.client.retries import RetryPolicy

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_HEARTBEAT_S = 60.0  # a stream silent for this long is taken for broken

RetryListener = Callable[[MillraceError, float], None]


class Transport:
    """One server, reached over a pool of connections.

    ``on_retry`` is told the error and the pause in seconds before each further try.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        policy: RetryPolicy,
        on_retry: RetryListener | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.policy = policy
        self._on_retry = on_retry or (lambda _error, _pause_s: None)
        self._sleep = sleep
        self._known = False
        wrong = UnexpectedAnswerError(f"{url!r} is not an address like http://127.0.0.1:8000")
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise wrong
            # A proxy from the environment is for the world outside, never for this machine.
            outside = parts.hostname not in _LOOPBACK
            self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=outside)
        except (ValueError, httpx.InvalidURL):
            raise wrong from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        file: tuple[str, Callable[[], BinaryIO]] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience_s: float = 0.0,
        repeatable: bool = True,
    ) -> Any:
        """The JSON of the answer.

        ``patience_s`` is the time that the server was asked to hold its answer back.
        ``form`` is sent in place of a body, with a ``file``: its name, and what opens it.
        ``repeatable`` says that the request may arrive twice; one that may not is tried again
        only where it cannot have been carried out.

        Raises:
            MillraceError: the class of the answer's problem code, ServerUnreachableError, or
                UnexpectedAnswerError.
        """
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        failures = 0
        while True:
            wanted_s = None
            try:
                with ExitStack() as stack:
                    sent = None if file is None else (file[0], stack.enter_context(file[1]()))
                    response = self._http.request(
                        method,
                        path,
                        json=body,
                        data=form,
                        files=None if sent is None else {"file": sent},
                        params=asked,
                        headers=headers,
                        timeout=self.timeout_s + patience_s,
                    )
            except httpx.DecodingError as cause:
                raise _unreadable(cause) from cause
            except UnicodeEncodeError as cause:
                raise InvalidRequestError(f"the request is not Unicode text: {cause}") from cause
            except httpx.TransportError as cause:
                error: MillraceError = self.unreachable(cause)
                again = repeatable or isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
            else:
                if response.is_success:
                    self._known = True
                    return _json(response)
                error = problem_error(response)
                again = response.status_code in _TRY_AGAIN
                wanted_s = retry_after_s(response)
            failures += 1
            if not again:
                raise error
            self.pause(error, failures, wanted_s)

    def download(self, path: str, into: Path) -> None:
        """Write the body of a GET to a file, whole or not at all. Raises as :meth:`call`."""
        part = into.with_name(into.name + ".part")
        failures = 0
        while True:
            try:
                with self.stream(path, {}) as pieces, part.open("wb") as file:
                    for piece in pieces or ():
                        file.write(piece)
                part.replace(into)
                return
            except MillraceError as error:
                failures += 1
                if not error.retryable:
                    raise
                self.pause(error, failures)
            finally:
                part.unlink(missing_ok=True)

    def pause(self, error: MillraceError, failures: int, wanted_s: float | None = None) -> None:
        """Wait before the next try after ``failures`` in a row, or raise ``error``."""
        pause_s = self.policy.pause_s(failures, wanted_s, known=self._known)
        if pause_s is None:
            raise error
        self._on_retry(error, pause_s)
        self._sleep(pause_s)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[Iterator[bytes] | None]:
        """The body of a GET as it arrives; None when there is none and will be none (204).

        Raises:
            ServerUnreachableError: the connection could not be made or broke.
            MillraceError: the class of the answer's problem code.
        """
        timeout = httpx.Timeout(self.timeout_s, read=_HEARTBEAT_S)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise problem_error(response)
                yield None if response.status_code == 204 else response.iter_bytes()
        except httpx.DecodingError as cause:
            raise _unreadable(cause) from cause
        except httpx.TransportError as cause:
            raise self.unreachable(cause) from cause

    def unreachable(self, cause: httpx.TransportError) -> ServerUnreachableError:
        """The error that says so in one line."""
        if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
            return ServerUnreachableError(
                f"no Millrace at {self.url}: start one with `millrace up`, or set MILLRACE_URL"
            )
        what = str(cause) or type(cause).__name__
        return ServerUnreachableError(f"the connection to {self.url} broke: {what}")


def _unreadable(cause: httpx.DecodingError) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"the answer is not in the encoding that it names: {cause}")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswerError(
            f"{response.request.url} did not answer JSON: is that address a Millrace?"
        ) from error
