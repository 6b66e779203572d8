"""Embeddings and models as OpenAI's clients ask for them."""

import base64
import struct
import threading
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from contract.settings import Settings
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.support.calling import claimed
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_texts_are_embedded_in_their_order(
    http: httpx.Client,
    front: LocalFront,
    settings: Settings,
    models: ModelStore,
    encoding: str | None,
) -> None:
    vectors = [[1.0, 0.0], [0.5, -0.5]]
    answers: list[httpx.Response] = []
    body: dict[str, Any] = {"model": "tiny-embed", "input": ["a", "b"], "encoding_format": encoding}
    with HandWorker(settings, models.resolve("tiny-embed")) as worker:
        thread = threading.Thread(
            target=lambda: answers.append(http.post("/v1/embeddings", json=body))
        )
        thread.start()
        worker.finish(claimed(front, worker), {"embeddings": vectors})
        thread.join(timeout=30)
    said = answers[0].json()

    found = [each["embedding"] for each in said["data"]]
    if encoding == "base64":
        found = [list(struct.unpack("<2f", base64.b64decode(each))) for each in found]
    assert found == vectors
    assert [each["index"] for each in said["data"]] == [0, 1]
    assert said["usage"] == {"prompt_tokens": 3, "total_tokens": 5}


def test_models_are_listed_and_read_by_any_of_their_names(
    client: FlaskClient, tiny: ModelVersion
) -> None:
    listed = client.get("/v1/models").json
    assert listed is not None
    assert [each["id"] for each in listed["data"]] == ["tiny", "tiny-embed"]
    assert all(each["owned_by"] == "millrace" and each["created"] > 0 for each in listed["data"])
    assert client.get(f"/v1/models/tiny:{tiny.version}").json["object"] == "model"  # type: ignore[index]
    missing = client.get("/v1/models/gone")
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "model_not_found")  # type: ignore[index]


@pytest.mark.parametrize(("given", "many"), [([5, 6], [[5, 6]]), ([[5], [6]], [[5], [6]])])
def test_token_ids_can_be_embedded(
    http: httpx.Client, front: LocalFront, settings: Settings, models: ModelStore, given: Any,
    many: Any,
) -> None:  # fmt: skip
    body = {"model": "tiny-embed", "input": given}
    answers: list[httpx.Response] = []
    with HandWorker(settings, models.resolve("tiny-embed")) as worker:
        thread = threading.Thread(
            target=lambda: answers.append(http.post("/v1/embeddings", json=body))
        )
        thread.start()
        claim = claimed(front, worker)
        worker.finish(claim, {"embeddings": [[1.0, 0.0]] * len(many)})
        thread.join(timeout=30)
    assert claim.input == {"tokens": many, "many": True}
    assert len(answers[0].json()["data"]) == len(many)
