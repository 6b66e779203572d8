"""The OpenAPI document is valid and says everything that the front may answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from contract.settings import Settings
from producer.problems import PROBLEM_JSON
from tests.support.fronts import LocalFront

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFront]:
    """A front that never speaks to Redis."""
    folder: Path = tmp_path_factory.mktemp("data")
    front = LocalFront(Settings.from_mapping({"MILLRACE_DATA_DIR": str(folder)}))
    yield front
    front.close()


@pytest.fixture(scope="module")
def document(front: LocalFront) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(front.app.test_client().get("/openapi.json").data)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_is_in_the_document_and_nothing_else(
    front: LocalFront, document: dict[str, Any]
) -> None:
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in front.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {(path, method) for path, method, _ in operations(document)} == served


def test_every_operation_is_described_and_named_once(document: dict[str, Any]) -> None:
    described = [operation for *_, operation in operations(document)]

    assert all(operation["summary"] for operation in described)
    assert len({operation["operationId"] for operation in described}) == len(described)


def test_every_error_is_told_in_the_words_of_its_api(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        is_foreign = path.startswith(("/v1/", "/v2/"))
        failures = {s: r for s, r in operation["responses"].items() if int(s) >= 400}
        assert {"400" if is_foreign else "422", "500"} <= set(failures), (path, method)
        for status, response in failures.items():
            if path == "/readyz" and status == "503":
                continue  # it says what is missing in a body of its own
            words = "application/json" if is_foreign else PROBLEM_JSON
            assert set(response["content"]) == {words}, (path, method, status)


def test_a_submit_documents_each_way_it_can_go(document: dict[str, Any]) -> None:
    submit = document["paths"]["/api/v1/jobs"]["post"]

    assert set(submit["responses"]) == {
        "200", "202", "400", "404", "410", "413", "415", "422", "429", "500", "503",
    }  # fmt: skip
    assert {"Location", "Retry-After"} <= set(submit["responses"]["202"]["headers"])
    assert {each["name"] for each in submit["parameters"]} == {"Prefer", "Idempotency-Key"}


def test_a_bulk_submit_documents_its_jobs_its_limits_and_its_key(document: dict[str, Any]) -> None:
    batch = document["paths"]["/api/v1/jobs:batch"]["post"]
    jobs = document["components"]["schemas"]["BulkRequest"]["properties"]["jobs"]

    assert set(batch["responses"]) == {"200", "400", "413", "415", "422", "500", "503"}
    assert batch["requestBody"]["description"] == "At most 8388608 bytes."
    assert (jobs["minItems"], jobs["maxItems"]) == (1, 1000)
    named = [each.get("$ref", "").rpartition("/")[2] for each in jobs["items"]["anyOf"]]
    assert named == ["GenerateRequest", "EmbedRequest", ""]
    [key] = batch["parameters"]
    assert key["name"] == "Idempotency-Key"
    assert "place in the list" in key["description"]


def test_no_reference_leads_nowhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    text = json.dumps(document)
    used = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}

    assert used <= known
    assert used
