"""What clients are answered in all, and how often a connection broke under them."""

import re
import threading
from collections import Counter

import httpx

BROKEN = "broken connections"
_HEALED = re.compile(rf"{BROKEN}|200|202|(429|503) \w+ later")


class Witness(httpx.BaseTransport):
    """Carries requests, and counts what came back."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport(
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        """Answers by status; of errors the code, and whether they say when to come back."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it. Raises httpx.TransportError."""
        try:
            response = self._inner.handle_request(request)
        except httpx.TransportError:
            self._count(BROKEN)
            raise
        said = str(response.status_code)
        if response.is_error:
            response.read()
            said += f" {response.json()['code']}"
            said += " later" if "Retry-After" in response.headers else ""
        self._count(said)
        return response

    def close(self) -> None:
        """End the connections."""
        self._inner.close()

    def _count(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1

    def unhealed(self) -> dict[str, int]:
        """What a client that repeats its submit with the same key is not helped by."""
        return {what: count for what, count in self.seen.items() if not _HEALED.fullmatch(what)}

    def __str__(self) -> str:
        return ", ".join(f"{count} x {what}" for what, count in sorted(self.seen.items()))
