"""One kept HTTP connection, so plain that what it measures is the server's time.

Of the standard library alone.
"""

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

_MOST_BYTES = 1 << 26
_LENGTH = re.compile(rb"content-length: (\d+)")


class Line:
    """A connection that carries one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> "Line":
        """Connect."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=_MOST_BYTES))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def ask(self, method: str, path: str, body: Any = None, *, head: str = "") -> Any:
        """The JSON of an answer; ``head`` is more header lines, each with its line break.

        Raises:
            RuntimeError: the answer's status is not of success.
        """
        status, content = await self.exchange(method, path, body, head=head)
        if status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {status} {content[:500]!r}")
        return json.loads(content)

    async def exchange(
        self, method: str, path: str, body: Any = None, *, head: str = ""
    ) -> tuple[int, bytes]:
        """The status and the body of an answer, whatever it says."""
        self._send(method, path, body, head)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(answer.lower())
        content = await (self._chunks() if length is None else self._exactly(int(length[1])))
        return int(answer[9:12]), content

    async def _exactly(self, length: int) -> bytes:
        return await self._reader.readexactly(length)

    async def _chunks(self) -> bytes:
        content = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            content += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return content

    async def follow(self, path: str, until: bytes) -> None:
        """Ask for a stream; returns when ``until`` has come. The rest is still to be read."""
        self._send("GET", path, None, "")
        await self._reader.readuntil(until)

    async def rest(self) -> bytes:
        """What is left of a stream in chunks, to its end."""
        return await self._reader.readuntil(b"\r\n0\r\n\r\n")

    async def some(self) -> bytes:
        """What has come of a stream; empty when it has ended."""
        return await self._reader.read(1 << 16)

    def _send(self, method: str, path: str, body: Any, head: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        kind = "" if body is None else "Content-Type: application/json\r\n"
        lines = f"{method} {path} HTTP/1.1\r\nHost: here\r\n{kind}{head}"
        self._writer.write(f"{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content)
