"""Files as OpenAI's clients send and read them."""

import socket
import time
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient

from tests.integration.http.conftest import MakeFront
from tests.support.feeding import upload


def test_a_file_is_stored_listed_read_and_deleted(client: FlaskClient) -> None:
    made = upload(client, b"one\ntwo\n").get_json()
    assert made["id"].startswith("file-")
    assert (made["object"], made["bytes"], made["filename"]) == ("file", 8, "in.jsonl")
    assert (made["purpose"], made["status"]) == ("batch", "processed")
    assert made["expires_at"] - made["created_at"] == 30 * 86_400

    path = f"/v1/files/{made['id']}"
    assert client.get(path).get_json() == made
    content = client.get(f"{path}/content")
    assert (content.data, content.content_type) == (b"one\ntwo\n", "application/octet-stream")
    assert client.get("/v1/files").get_json()["data"] == [made]
    assert client.delete(path).get_json() == {"id": made["id"], "object": "file", "deleted": True}
    gone = client.get(path)
    assert (gone.status_code, gone.get_json()["error"]["code"]) == (404, "unknown_file")
    assert client.delete(path).status_code == 404


def test_files_come_in_pages_newest_first_or_oldest_first(client: FlaskClient) -> None:
    ids = [upload(client, b"x", purpose).get_json()["id"] for purpose in ("batch", "vision") * 2]

    first = client.get("/v1/files?limit=3").get_json()
    rest = client.get(f"/v1/files?limit=3&after={first['last_id']}").get_json()
    assert [each["id"] for each in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    oldest = client.get("/v1/files?order=asc&purpose=vision").get_json()
    assert [each["id"] for each in oldest["data"]] == ids[1::2]
    assert client.get("/v1/files?after=file-x").status_code == 404


def test_a_file_expires_when_it_is_told_to(client: FlaskClient) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = upload(client, b"x", "vision", **expiry).get_json()
    assert made["expires_at"] - made["created_at"] == 3600
    assert upload(client, b"x", "vision").get_json()["expires_at"] is None


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "nothing"}, "purpose"),
        ({"purpose": "batch", "more": "x"}, "more"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, ""),
        ({"purpose": "batch", "expires_after[seconds]": "x"}, "expires_after[seconds]"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(
    client: FlaskClient, tmp_path: Path, form: dict[str, str], param: str
) -> None:
    answer = upload(client, b"x", **form)

    assert answer.status_code == 400
    assert (answer.get_json()["error"]["param"] or "") == param
    assert list((tmp_path / "files").rglob("file-*")) == []


def test_a_body_that_is_no_form_is_refused(client: FlaskClient) -> None:
    assert client.post("/v1/files", json={}).status_code == 415
    no_file = client.post(
        "/v1/files", data={"purpose": "batch"}, content_type="multipart/form-data"
    )
    assert (no_file.status_code, no_file.get_json()["error"]["param"]) == (400, "file")
    broken = client.post(
        "/v1/files", data=b"--x\r\nnonsense", content_type="multipart/form-data; boundary=x"
    )
    assert broken.status_code == 400
    unbound = client.post("/v1/files", data=b"", content_type="multipart/form-data")
    assert unbound.status_code == 400


def test_a_file_that_is_too_large_is_refused_and_not_kept(
    make_front: MakeFront, tmp_path: Path
) -> None:
    client = make_front(max_file_bytes="4096").app.test_client()

    assert upload(client, b"x" * 4096).status_code == 200
    for size in (4097, 2_000_000):
        assert upload(client, b"x" * size).status_code == 413
    assert len(list((tmp_path / "files").rglob("file-*"))) == 1


def test_a_large_file_is_stored_whole(http: httpx.Client) -> None:
    content = bytes(range(256)) * 40_000
    made = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("f", content)})
    assert made.status_code == 200, made.text
    assert made.json()["bytes"] == len(content)
    assert http.get(f"/v1/files/{made.json()['id']}/content").content == content


def test_storage_that_fails_is_told_as_503(make_front: MakeFront, tmp_path: Path) -> None:
    client = make_front().app.test_client()
    (tmp_path / "files").write_text("in the way")

    answer = upload(client, b"x")
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "storage_unavailable"
    assert answer.headers["Retry-After"]


def test_an_upload_that_breaks_off_leaves_nothing(http: httpx.Client) -> None:
    before = http.get("/v1/files").json()["data"]
    url = http.base_url
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf'
        )
        time.sleep(0.3)  # the server has the first half by then, or not: either is well
    assert http.get("/v1/files").json()["data"] == before
    assert http.get("/healthz").is_success
