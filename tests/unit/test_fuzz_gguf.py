"""GGUF files that nobody wrote: each is read, or refused by an error of ours."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.support.fuzz_reader import FuzzReader
from tests.support.fuzzing import ODD_NUMBERS, Fuzzer, mutated_bytes
from tests.support.tiny_gguf import FIELDS, LIST, TENSORS, TEXT, U64, header, tiny_gguf

#: What a tokenizer or a template inside of the file may be refused as, too.
REFUSED = ("invalid_model", "invalid_request")
_NAMES = sorted(FIELDS)
_VALUES = st.one_of(
    st.tuples(st.just(U64), st.sampled_from(ODD_NUMBERS)),
    st.tuples(st.just(11), st.sampled_from([-1, 0, -(2**63)])),
    st.tuples(st.just(6), st.floats(width=32)),
    st.tuples(st.just(7), st.booleans()),
    st.tuples(st.just(TEXT), st.text(st.characters(exclude_categories=()), max_size=20)),
    st.tuples(st.just(LIST), st.tuples(st.just(TEXT), st.lists(st.text(max_size=4), max_size=99))),
    st.tuples(st.just(LIST), st.tuples(st.just(U64), st.lists(st.sampled_from(ODD_NUMBERS)))),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


def test_the_file_that_the_others_are_made_of_is_read(reader: FuzzReader, path: Path) -> None:
    path.write_bytes(tiny_gguf())

    assert reader.read("read_gguf_file", path) is None


def test_changed_bytes_are_read_or_refused(reader: FuzzReader, path: Path, fuzzer: Fuzzer) -> None:
    def check(data: bytes) -> None:
        path.write_bytes(data)
        assert reader.read("read_gguf_file", path) in (None, "model_import_failed", *REFUSED)

    fuzzer.run(check, mutated_bytes(tiny_gguf(), interesting=len(header())), examples=60)


def test_changed_fields_are_read_or_refused(reader: FuzzReader, path: Path, fuzzer: Fuzzer) -> None:
    def check(changes: dict[str, Any]) -> None:
        path.write_bytes(tiny_gguf({**FIELDS, **changes}))
        assert reader.read("read_gguf_file", path) in (None, "model_import_failed", *REFUSED)

    changes = st.dictionaries(st.sampled_from(_NAMES), _VALUES, min_size=1, max_size=2)
    fuzzer.run(check, changes, examples=60)


def test_changed_shapes_are_read_or_refused(reader: FuzzReader, path: Path, fuzzer: Fuzzer) -> None:
    def check(changes: dict[str, Any]) -> None:
        path.write_bytes(tiny_gguf(tensors={**TENSORS, **changes}))
        assert reader.read("read_gguf_file", path) in (None, "model_import_failed")

    sizes = st.lists(st.sampled_from([*ODD_NUMBERS, 16, 32]), max_size=5).map(tuple)
    changes = st.dictionaries(st.sampled_from(sorted(TENSORS)), sizes, min_size=1, max_size=2)
    fuzzer.run(check, changes, examples=40)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("nothing", b""),
        ("a magic number alone", b"GGUF"),
        ("more tensors than bytes", b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 0)),
        ("more fields than bytes", b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1)),
        (
            "a list of numbers that is longer than the file",
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 0, 2**62),
        ),
        (
            "a name that is longer than the file",
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63) + b"abc",
        ),
        (
            "lists in lists in lists",
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1)
            + struct.pack("<Q1sI", 1, b"a", 9)
            + struct.pack("<IQ", 9, 1) * 20_000,
        ),
        (
            "a name that is not text",
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q2sIB", 2, b"\xff\xfe", 0, 1),
        ),
    ],
)
def test_headers_that_ask_for_the_absurd_are_refused(
    reader: FuzzReader, path: Path, what: str, data: bytes
) -> None:
    path.write_bytes(data)

    assert reader.read("read_gguf_file", path) == "model_import_failed", what


def test_a_context_that_would_fill_the_memory_is_refused(reader: FuzzReader, path: Path) -> None:
    path.write_bytes(tiny_gguf({**FIELDS, "llama.context_length": (U64, 2**40)}))

    assert reader.read("read_gguf_file", path) == "model_import_failed"
