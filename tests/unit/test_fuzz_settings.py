"""Settings and the model store's own files, with anything in them."""

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from contract.errors import InvalidModelError, SettingsError
from contract.settings import PREFIX, Settings
from model_store.manifest import Manifest
from model_store.store import ModelStore
from tests.support.fuzz_reader import FuzzReader
from tests.support.fuzzing import ODD_NUMBERS, Fuzzer, mutated_bytes, mutated_json
from tests.support.versions import add

_NAMES = sorted(PREFIX + each.name.upper() for each in fields(Settings))
_PARTS = (
    "redis", "rediss", "redis+sentinel", "http", "://", "user:pass@", "@", ":", "/", "[", "]",
    "::1", "127.0.0.1", "host", ",", "6379", "99999", "-1", "/0", "/mymaster", "?", "#", "%zz",
    "\0", " ", "\u2100", "\u0663", "cuda", "cpu", "auto", "1", "0", "nan", "inf", "1_0", "--1",
)  # fmt: skip
_VALUES = st.one_of(
    st.lists(st.sampled_from(_PARTS), max_size=8).map("".join),
    st.text(max_size=12),
    st.sampled_from([*map(str, ODD_NUMBERS), "9" * 5000]),
)


def test_any_settings_are_taken_or_refused_by_name(fuzzer: Fuzzer) -> None:
    def check(given: dict[str, str]) -> None:
        try:
            settings = Settings.from_mapping(given)
        except SettingsError as error:
            refused = error.detail
        else:
            refused = ""
            assert 1 <= settings.port <= 65535
            assert settings.lease_s > 0
        assert not refused or any(name in refused for name in given)

    names = st.one_of(st.sampled_from(_NAMES), st.text(max_size=5).map(lambda each: PREFIX + each))
    fuzzer.run(check, st.dictionaries(names, _VALUES, min_size=1, max_size=3), examples=120)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two versions of one model, in production and before it."""
    store = ModelStore(tmp_path / "models")
    add(store, "one")
    add(store, "two")
    store.promote("m:2")
    return store.root


def test_any_manifest_is_read_or_refused(root: Path, fuzzer: Fuzzer) -> None:
    text = (root / "m" / "2" / "manifest.json").read_text()

    def check(changed: bytes) -> None:
        try:
            manifest = Manifest.from_json(changed.decode("utf-8", "replace"), where="here")
        except InvalidModelError:
            return
        assert manifest.context_length // manifest.max_token_bytes >= 0
        assert Manifest.from_json(manifest.to_json(), where="there").digest() == manifest.digest()

    other = mutated_json(json.loads(text)).map(lambda record: json.dumps(record).encode())
    fuzzer.run(
        check,
        st.one_of(mutated_bytes(text.encode()), other, other),
        examples=80,
        known=[b"[" * 100_000, text.replace('"m', '"files": {}, "m').encode()],
    )


@pytest.mark.parametrize("name", ["2/manifest.json", "aliases.json", "last_version"])
def test_a_store_with_changed_files_is_read_or_refused(
    reader: FuzzReader, root: Path, tmp_path: Path, fuzzer: Fuzzer, name: str
) -> None:
    assert reader.read("read_store", root) is None
    original = (root / "m" / name).read_bytes() if (root / "m" / name).exists() else b"2\n"

    def check(changed: bytes) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy)
        (copy / "m" / name).write_bytes(changed)
        code = reader.read("read_store", copy)
        assert code in (None, "invalid_model", "model_tampered", "unknown_model")

    def as_json(record: Any) -> bytes:
        return json.dumps(record).encode()

    fuzzer.run(
        check,
        st.one_of(mutated_bytes(original), mutated_json(json.loads(original)).map(as_json)),
        examples=15,
    )
