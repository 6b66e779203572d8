"""Results in segments, and the files that they become."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from contract.errors import StorageUnavailableError
from producer.feeder.results import (
    ERRORS,
    OUTPUT,
    SEGMENT_BYTES,
    SEGMENT_LINES,
    SEGMENT_S,
    Results,
)
from producer.storage import FileStorage

TARGETS = {OUTPUT: "files/out", ERRORS: "files/err"}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def storage(tmp_path: Any) -> FileStorage:
    return FileStorage(str(tmp_path))


def result(custom_id: str, status: int | None = 200) -> Mapping[str, Any]:
    usage = {"prompt_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
    response = None if status is None else {"status_code": status, "body": {"usage": usage}}
    return {"custom_id": custom_id, "response": response}


def join(results: Results) -> Mapping[str, int]:
    sizes: Mapping[str, int] = {}
    for made in results.join(TARGETS):
        sizes = made
    return sizes


def is_due(results: Results) -> bool:
    return results.due


def ids(lines: Iterator[bytes]) -> list[str]:
    return [json.loads(each)["custom_id"] for each in lines]


def test_results_become_a_file_of_answers_and_one_of_errors(storage: FileStorage) -> None:
    results = Results(storage, "batch_1", 1)
    for each in (result("a"), result("b", 400), result("c", None), result("d")):
        results.add(each)
    results.write()
    sizes = join(results)

    assert ids(storage.lines("files/out")) == ["a", "d"]
    assert ids(storage.lines("files/err")) == ["b", "c"]
    assert sizes == {kind: storage.size(name) for kind, name in TARGETS.items()}
    tally = results.tally
    assert (tally.completed, tally.failed, tally.not_run, tally.all) == (2, 1, 1, 4)
    assert tally.usage == {"prompt_tokens": 4, "total_tokens": 6, "cached_tokens": 2}


def test_a_later_attempt_knows_what_an_earlier_one_wrote(storage: FileStorage) -> None:
    first = Results(storage, "batch_1", 1)
    for each in (result("a"), result("b", 400)):
        first.add(each)
    first.write()
    first.add(result("lost"))
    second = Results(storage, "batch_1", 2)

    assert set(second.known()) - {None} == {"a", "b"}
    assert (second.tally.completed, second.tally.failed) == (1, 1)


def test_a_line_that_two_attempts_wrote_counts_once(storage: FileStorage) -> None:
    for attempt in (1, 2):
        results = Results(storage, "batch_1", attempt)
        results.add(result("a"))
        results.write()
    join(results)

    assert ids(storage.lines("files/out")) == ["a"]
    assert results.tally.completed == 1


def test_a_file_without_lines_is_not_made(storage: FileStorage) -> None:
    results = Results(storage, "batch_1", 1)
    results.add(result("a"))
    results.write()

    assert join(results).keys() == {OUTPUT}
    with pytest.raises(FileNotFoundError):
        storage.read("files/err")


def test_a_segment_is_due_when_it_is_long_or_old(storage: FileStorage) -> None:
    clock = Clock()
    results = Results(storage, "batch_1", 1, clock)
    assert not is_due(results)
    results.add(result("a"))
    assert not is_due(results)
    clock.now_s = SEGMENT_S
    assert is_due(results)
    results.write()
    assert not is_due(results)
    for number in range(SEGMENT_LINES):
        results.add(result(str(number)))
    assert is_due(results)


def test_segments_are_deleted_when_they_are_joined(storage: FileStorage) -> None:
    results = Results(storage, "batch_1", 1)
    results.add(result("a"))
    results.write()
    results.clear()

    assert storage.below("batches/batch_1") == []


def test_a_segment_is_due_when_it_is_large(storage: FileStorage) -> None:
    results = Results(storage, "batch_1", 1, Clock())
    large = {**result("a"), "more": "x" * SEGMENT_BYTES}
    results.add(large)
    assert is_due(results)
    results.write()
    assert not is_due(results)
    assert set(results.known()) - {None} == {"a"}


def test_a_segment_that_another_attempt_has_joined_is_no_crash(storage: FileStorage) -> None:
    results = Results(storage, "batch_1", 1)
    for name in ("a", "b"):
        results.add(result(name))
        results.write()
    known = results.known()
    next(known)
    results.clear()
    with pytest.raises(StorageUnavailableError):
        list(known)
