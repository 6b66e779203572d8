"""HTTP to a server on this machine, at little cost to the two cores that are measured."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from millrace.client.sse import read_events

_TIMEOUT_S = 300


class Wire:
    """JSON over HTTP/1.1; one connection for each thread, kept open unless ``keep`` is False.

    Raises (from every call) RuntimeError when the server answers with an error.
    """

    def __init__(self, port: int, *, keep: bool = True) -> None:
        self._port = port
        self._headers = {} if keep else {"Connection": "close"}
        self._mine = threading.local()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return json.loads(self._request("GET", path).read())

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer to a JSON body."""
        return json.loads(self._request("POST", path, body, headers).read())

    def events(self, method: str, path: str, body: Any = None) -> Iterator[tuple[float, str, Any]]:
        """Server-sent events: when each arrived (perf_counter), its name and its JSON."""
        response = self._request(method, path, body)
        for event in read_events(iter(lambda: response.read1(1 << 16), b"")):
            yield time.perf_counter(), event.name, json.loads(event.data)
        response.read()

    def answers(self, path: str) -> bool:
        """Whether something answers 200 at a path."""
        try:
            self.get(path)
        except (OSError, http.client.HTTPException, RuntimeError, ValueError):
            self._forget()
            return False
        return True

    def _request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self._headers, **(headers or {})}
        try:
            response = self._send(method, path, content, sent)
        except ConnectionError:  # the server has closed a kept connection
            self._forget()
            response = self._send(method, path, content, sent)
        if response.status >= 300:
            text = response.read(2000).decode("utf-8", "replace")
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return response

    def _send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = self._connection()
        connection.request(method, path, content, dict(headers))
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
            self._mine.connection = found
        return found

    def _forget(self) -> None:
        connection = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None:
            connection.close()
