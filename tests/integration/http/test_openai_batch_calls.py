"""How batches are asked for, listed and refused."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.feeding import (
    chat_line,
    ended,
    feeding,
    jsonl,
    start,
    upload,
)
from tests.support.fronts import LocalFront


def test_a_file_that_is_no_batch_fails_with_the_lines_that_are_wrong(
    client: FlaskClient, front: LocalFront
) -> None:
    content = jsonl(chat_line("a"), chat_line("a")) + b"nonsense\n"
    batch = start(client, content)
    with feeding(front.settings):
        done = ended(client, batch["id"], "failed")

    found = [(each["line"], each["code"]) for each in done["errors"]["data"]]
    assert found == [(2, "duplicate_custom_id"), (3, "invalid_line")]
    assert done["failed_at"]
    assert (done["output_file_id"], done["request_counts"]["total"]) == (None, 0)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            "output_expires_after.seconds",
        ),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_a_wrong_field_of_a_batch_is_named(
    client: FlaskClient, changes: dict[str, Any], param: str
) -> None:
    file_id = upload(client, jsonl(chat_line("a"))).get_json()["id"]
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    answer = client.post("/v1/batches", json={**body, **changes})

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, param)


def test_a_file_for_something_else_is_no_batch_nor_is_one_that_is_not_there(
    client: FlaskClient,
) -> None:
    file_id = upload(client, b"x", "vision").get_json()["id"]
    body = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    answer = client.post("/v1/batches", json=body)
    assert "'vision'" in answer.get_json()["error"]["message"]
    missing = client.post("/v1/batches", json={**body, "input_file_id": "file-none"})
    assert (missing.status_code, missing.get_json()["error"]["code"]) == (404, "unknown_file")


def test_the_same_key_makes_the_same_batch(client: FlaskClient) -> None:
    file_id = upload(client, jsonl(chat_line("a"))).get_json()["id"]
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    key = {"Idempotency-Key": "k1"}
    first, second = (client.post("/v1/batches", json=body, headers=key) for _ in range(2))
    assert first.get_json()["id"] == second.get_json()["id"]
    other = client.post("/v1/batches", json={**body, "completion_window": "1h"}, headers=key)
    assert other.status_code == 422


def test_batches_are_listed_newest_first(client: FlaskClient) -> None:
    ids = [start(client, jsonl(chat_line("a")))["id"] for _ in range(3)]
    first = client.get("/v1/batches?limit=2").get_json()
    rest = client.get(f"/v1/batches?limit=2&after={first['last_id']}").get_json()
    assert [each["id"] for each in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_a_batch_that_has_ended_cannot_be_cancelled(client: FlaskClient, front: LocalFront) -> None:
    batch = start(client, b"nonsense\n")
    with feeding(front.settings):
        ended(client, batch["id"], "failed")
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "batch_ended")
    assert client.post("/v1/batches/batch_none/cancel").status_code == 404


def test_a_batch_whose_file_was_deleted_fails(client: FlaskClient, front: LocalFront) -> None:
    batch = start(client, jsonl(chat_line("a")))
    client.delete(f"/v1/files/{batch['input_file_id']}")
    with feeding(front.settings):
        done = ended(client, batch["id"], "failed")
    assert [each["code"] for each in done["errors"]["data"]] == ["input_file_missing"]
