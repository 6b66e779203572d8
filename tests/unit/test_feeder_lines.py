"""Whether a file is a batch, and which line is why not."""

import json
from typing import Any

import pytest

from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from producer.catalog import Catalog
from producer.feeder.lines import MOST_ERRORS, MOST_LINES, FileCheck
from producer.openai.endpoints import CHAT


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_tiny_llama(store)
    write_tiny_bert(store)
    return Catalog(store)


@pytest.fixture
def check(catalog: Catalog) -> FileCheck:
    return FileCheck(CHAT, catalog, max_line_bytes=1000)


def line(custom_id: str = "a", **changes: Any) -> bytes:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    said = {"custom_id": custom_id, "method": "POST", "url": CHAT.path, "body": body, **changes}
    return json.dumps(said).encode() + b"\n"


def test_lines_of_one_model_are_a_batch_of_the_version_that_it_means_now(check: FileCheck) -> None:
    for raw in (line("a"), b"\n", line("b")):
        check.add(raw)
    check.end()

    assert (check.errors, check.total, check.model) == ([], 2, "tiny:1")


@pytest.mark.parametrize(
    ("raw", "code", "word"),
    [
        (b"{not json\n", "invalid_line", "JSON"),
        (b"[]\n", "invalid_line", "object"),
        (b"\xff\n", "invalid_line", "UTF-8"),
        (line("b" * 600), "invalid_line", "custom_id"),
        (line("b", method="GET"), "invalid_line", "method"),
        (line("b", more=1), "invalid_line", "more"),
        (line("b", url="/v1/embeddings"), "invalid_url", "/v1/embeddings"),
        (line("b", body={"messages": []}), "invalid_line", "model"),
        (line("b", body={"model": "tiny-embed"}), "mismatched_model", "'tiny'"),
        (line("a"), "duplicate_custom_id", "line 1"),
        (line("b", body={"model": "tiny", "x": "y" * 1000}), "invalid_line", "1000 bytes"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(
    check: FileCheck, raw: bytes, code: str, word: str
) -> None:
    check.add(line("a"))
    check.add(raw)
    check.end()

    (error,) = check.errors
    assert (error.line, error.code) == (2, code)
    assert word in error.message


@pytest.mark.parametrize(
    ("model", "code"), [("nobody", "model_not_found"), ("tiny-embed", "invalid_model")]
)
def test_a_model_that_cannot_answer_is_told_once(catalog: Catalog, model: str, code: str) -> None:
    check = FileCheck(CHAT, catalog, max_line_bytes=1000)
    for name in ("a", "b", "c"):
        check.add(line(name, body={"model": model}))
    check.end()

    assert [(each.code, each.line) for each in check.errors] == [(code, 1)]


def test_an_empty_file_is_no_batch(check: FileCheck) -> None:
    check.add(b"\n")
    check.end()

    assert [each.code for each in check.errors] == ["empty_file"]


def test_a_file_of_nothing_but_errors_is_not_read_to_its_end(check: FileCheck) -> None:
    for _ in range(MOST_ERRORS):
        assert not check.full
        check.add(b"x\n")

    assert check.full


def test_too_many_lines_are_no_batch(check: FileCheck) -> None:
    for number in range(MOST_LINES + 1):
        assert not check.full
        check.add(line(str(number)))
    assert check.full
    check.end()

    assert [each.code for each in check.errors] == ["too_many_lines"]
