"""A feeder in this process, and what its batches are made of."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage as Upload
from werkzeug.test import TestResponse

from contract.queues import HintPublisher
from contract.reaper import Reaper
from contract.settings import Settings
from contract.store import Connection, ReapStore
from producer.feeder.app import make_parts
from producer.feeder.feeder import Feeder
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"


@contextmanager
def feeding(settings: Settings, **parts: Any) -> Iterator[None]:
    """A feeder at work, and a reaper as every front has one, for the length of a block.

    ``parts`` are other ones than the usual.
    """
    stopping = threading.Event()
    feeder = Feeder(replace(make_parts(settings), **parts))
    thread = threading.Thread(target=feeder.run, args=(stopping,))
    reaper = Reaper(ReapStore(Connection(settings.redis_url), settings), HintPublisher(settings))
    reaper.start()
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=20)
        reaper.stop()
        assert not thread.is_alive()


def chat_line(custom_id: str, text: str = "hi", **body: Any) -> dict[str, Any]:
    """A line that asks the tiny model."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": text}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}


def chat_lines(count: int) -> bytes:
    """So many lines, ``n0`` and on, each with a text of its own."""
    return jsonl(*(chat_line(f"n{number}", f"text {number}") for number in range(count)))


def jsonl(*lines: Mapping[str, Any]) -> bytes:
    """Lines of JSON."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def upload(
    client: FlaskClient, content: bytes, purpose: str = "batch", **form: str
) -> TestResponse:
    """Send a file."""
    file = Upload(BytesIO(content), filename="in.jsonl")
    data = {"purpose": purpose, "file": file, **form}
    return client.post("/v1/files", data=data, content_type="multipart/form-data")


def start(
    client: FlaskClient, content: bytes, endpoint: str = CHAT, **fields: Any
) -> dict[str, Any]:
    """Upload a file and start its batch."""
    file_id = upload(client, content).get_json()["id"]
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **fields}
    answer = client.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def read(client: FlaskClient, batch_id: str) -> dict[str, Any]:
    """A batch as the front shows it."""
    found: dict[str, Any] = client.get(f"/v1/batches/{batch_id}").get_json()
    return found


def ended(client: FlaskClient, batch_id: str, status: str, timeout_s: float = 30) -> dict[str, Any]:
    """A batch, once it is in ``status``."""

    def there() -> dict[str, Any] | None:
        batch = read(client, batch_id)
        return batch if batch["status"] == status else None

    batch = eventually(there, timeout_s)
    assert batch is not None
    return batch


def lines_of(client: FlaskClient, file_id: str | None) -> dict[str, Any]:
    """The lines of a batch's output or errors, by custom id; each is there once."""
    if file_id is None:
        return {}
    content = client.get(f"/v1/files/{file_id}/content").data
    found = [json.loads(line) for line in content.splitlines()]
    by_id = {each["custom_id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id
