"""A real HTTP server whose answers a test writes."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to answer. ``broken`` promises more bytes than are sent, then hangs up."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON; ``Retry_After`` names the header Retry-After."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    kind = {"Content-Type": "application/json", **named}
    return Answer(status=status, body=json.dumps(value).encode(), headers=kind)


def problem(status: int, code: str, detail: str = "no", **headers: str) -> Answer:
    """An RFC 9457 problem."""
    return json_answer({"status": status, "code": code, "detail": detail}, status, **headers)


def sse(*events: tuple[str, str, Mapping[str, Any]], broken: bool = False) -> Answer:
    """A stream of (id, name, data) events."""
    text = "".join(f"id: {i}\nevent: {n}\ndata: {json.dumps(d)}\n\n" for i, n, d in events)
    return Answer(body=text.encode(), headers={"Content-Type": "text/event-stream"}, broken=broken)


class HttpStub:
    """Answers each request with what ``answer`` says, and remembers the requests."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                asked = Asked(
                    method=self.command,
                    path=self.path,
                    headers=dict(self.headers),
                    body=json.loads(raw) if raw else None,
                )
                stub.asked.append(asked)
                answered = answer(asked)
                self.send_response(answered.status)
                for name, value in answered.headers.items():
                    self.send_header(name, value)
                more = 1000 if answered.broken else 0
                self.send_header("Content-Length", str(len(answered.body) + more))
                self.end_headers()
                self.wfile.write(answered.body)
                self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
