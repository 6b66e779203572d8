"""Files of calls that are answered while nobody waits."""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millrace.client.records import Json, Page, parse, parse_page
from millrace.client.transport import Transport

ENDED = frozenset({"failed", "completed", "expired", "cancelled"})
_FIRST_LOOK_S = 0.25
_LATER_LOOK_S = 2.0
_STORING_S = 300.0  # the server writes a large file before it answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as the server described it at one moment. Times are seconds since the epoch."""

    id: str
    status: str
    endpoint: str = ""
    model: str | None = None
    input_file_id: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    completion_window: str = ""
    created_at: float | None = None
    expires_at: float | None = None
    request_counts: Mapping[str, int] = field(default_factory=dict)
    errors: Json = None
    usage: Json = None
    metadata: Mapping[str, str] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.status in ENDED

    @property
    def total(self) -> int:
        """Lines, 0 until the file has been looked at."""
        return self.request_counts.get("total", 0)

    @property
    def completed(self) -> int:
        """Lines that were answered."""
        return self.request_counts.get("completed", 0)

    @property
    def failed(self) -> int:
        """Lines that ended in an error."""
        return self.request_counts.get("failed", 0)

    @property
    def line_errors(self) -> Sequence[Mapping[str, Any]]:
        """Why the file is no batch: {code, message, param, line}."""
        data = self.errors.get("data") if isinstance(self.errors, dict) else None
        return data if isinstance(data, list) else []


class Batches:
    """What can be asked of the batches of a server; it is ``client.batches``.

    Every method raises MillraceError, by the class of the server's answer.
    """

    def __init__(
        self,
        transport: Transport,
        make_key: Callable[[], str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = transport
        self._make_key = make_key
        self._sleep = sleep

    def upload(
        self, file: Path, on_progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> str:
        """Send a file of lines; its id. ``on_progress`` is told bytes sent, and of how many."""
        size = file.stat().st_size

        class Watched(io.FileIO):
            def read(self, count: int | None = -1, /) -> bytes:
                piece: bytes = super().read(-1 if count is None else count)
                on_progress(self.tell(), size)
                return piece

        answer = self._transport.call(
            "POST",
            "/v1/files",
            form={"purpose": "batch"},
            file=(file.name, lambda: Watched(file)),
            patience_s=_STORING_S,
        )
        return str(answer["id"])

    def create(
        self,
        file_id: str,
        *,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Let every line of an uploaded file be answered within ``completion_window``."""
        body: dict[str, Json] = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
        }
        if metadata:
            body["metadata"] = dict(metadata)
        key = {"Idempotency-Key": idempotency_key or self._make_key()}
        return parse(Batch, self._transport.call("POST", "/v1/batches", body=body, headers=key))

    def get(self, batch_id: str) -> Batch:
        """A batch as it is now."""
        return parse(Batch, self._transport.call("GET", f"/v1/batches/{batch_id}"))

    def list(self, *, limit: int | None = None, after: str | None = None) -> Page[Batch]:
        """Batches, newest first; ``after`` is the id that the page begins behind."""
        params = {"limit": limit, "after": after}
        return parse_page(Batch, self._transport.call("GET", "/v1/batches", params=params))

    def cancel(self, batch_id: str) -> Batch:
        """Let no further line begin. Raises BatchEndedError."""
        return parse(Batch, self._transport.call("POST", f"/v1/batches/{batch_id}/cancel"))

    def wait(
        self, batch_id: str, on_change: Callable[[Batch], None] = lambda _batch: None
    ) -> Batch:
        """The batch when it has ended; ``on_change`` is told how it is at every look."""
        pause_s = _FIRST_LOOK_S
        while True:
            batch = self.get(batch_id)
            on_change(batch)
            if batch.ended:
                return batch
            self._sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LATER_LOOK_S)

    def download(self, file_id: str, into: Path) -> None:
        """Write a file of the server to ``into``, whole or not at all."""
        self._transport.download(f"/v1/files/{file_id}/content", into)

    def delete_file(self, file_id: str) -> None:
        """Delete a file of the server."""
        self._transport.call("DELETE", f"/v1/files/{file_id}")
