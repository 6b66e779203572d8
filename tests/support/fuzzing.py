"""Inputs that nobody means well: bytes and JSON that were right before something changed them."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_FULL = 5  # times as many examples

#: Sizes, counts and offsets at which readers go wrong.
ODD_NUMBERS = (
    *(0, 1, 2, 7, 8, 127, 128, 255, 256, 4095, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
Edit = tuple[str, int, Any]


class Fuzzer:
    """Runs a check on many drawn inputs: always the same ones, or in a full run new ones."""

    def __init__(self, *, full: bool) -> None:
        self._full = full

    @classmethod
    def of(cls, config: pytest.Config) -> "Fuzzer":
        """As much as the command line asks for."""
        return cls(full=bool(config.getoption("--full", default=False)))

    def run(
        self,
        check: Callable[[Any], None],
        inputs: SearchStrategy[Any],
        *,
        examples: int,
        known: Sequence[Any] = (),
    ) -> None:
        """Call ``check`` on ``known`` inputs, which once failed, and on ``examples`` drawn ones."""

        def test(drawn: Any) -> None:
            check(drawn)

        for each in known:
            test = hypothesis.example(each)(test)
        run: Any = hypothesis.given(inputs)(test)
        if self._full:
            seed = random.SystemRandom().getrandbits(32)
            print(f"fuzz seed {seed}")
            run = hypothesis.seed(seed)(run)
        hypothesis.settings(
            max_examples=examples * (_FULL if self._full else 1),
            derandomize=not self._full,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(run)()


def mutated_bytes(seed: bytes, *, interesting: int | None = None) -> SearchStrategy[bytes]:
    """``seed`` with some changes, most of them in its first ``interesting`` bytes; or noise."""
    head = st.integers(0, max((interesting or len(seed)) - 1, 0))
    place = st.one_of(head, head, head, st.integers(0, len(seed)))
    number = st.tuples(st.sampled_from(ODD_NUMBERS), st.sampled_from([1, 2, 4, 8]))
    edit = st.one_of(
        st.tuples(st.just("number"), place, number),
        st.tuples(st.just("put"), place, st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("drop"), place, st.integers(1, 16)),
        st.tuples(st.just("cut"), place, st.none()),
        st.tuples(st.just("again"), place, st.integers(1, 64)),
    )
    changed = st.lists(edit, min_size=1, max_size=3).map(lambda edits: _edited(seed, edits))
    return st.one_of(changed, changed, changed, changed, changed, st.binary(max_size=64))


def _edited(seed: bytes, edits: Sequence[Edit]) -> bytes:
    data = bytearray(seed)
    for what, place, value in edits:
        if what == "number":
            number, size = value
            data[place : place + size] = (number % 256**size).to_bytes(size, "little")
        elif what == "put":
            data[place : place + len(value)] = value
        elif what == "insert":
            data[place:place] = value
        elif what == "drop":
            del data[place : place + value]
        elif what == "cut":
            del data[place:]
        else:
            data[place:place] = data[place : place + value]
    return bytes(data)


def texts() -> SearchStrategy[str]:
    """Any text that JSON can carry, halves of surrogate pairs and NUL among it."""
    return st.text(st.characters(exclude_categories=()), max_size=12)


def json_values(*, finite: bool = False) -> SearchStrategy[Any]:
    """Any value that ``json.loads`` can give."""
    numbers = st.floats(allow_nan=not finite, allow_infinity=not finite)
    whole = st.one_of(st.sampled_from(ODD_NUMBERS), st.integers(-3, 3), st.integers())
    plain = st.one_of(st.none(), st.booleans(), whole, whole, numbers, texts())
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts(), inner, max_size=3)
        ),
        max_leaves=6,
    )


def mutated_json(record: Any, *, finite: bool = False) -> SearchStrategy[Any]:
    """``record`` with one to three of its values, at any depth, replaced or taken away."""
    places = list(_places(record))
    change = st.tuples(
        st.sampled_from(places), st.sampled_from(["put", "put", "drop"]), json_values(finite=finite)
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _changed(record, changes))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Every place below ``value``; of a long list the first ones only."""
    yield path
    inner: Any = ()
    if isinstance(value, dict):
        inner = list(value.items())[:64]
    elif isinstance(value, list):
        inner = list(enumerate(value))[:4]
    for key, each in inner:
        yield from _places(each, (*path, key))


def _changed(record: Any, changes: Sequence[tuple[tuple[Any, ...], str, Any]]) -> Any:
    record = copy.deepcopy(record)
    for path, what, value in changes:
        if not path:
            if len(changes) == 1:
                return value
            continue
        holder = record
        try:
            for key in path[:-1]:
                holder = holder[key]
            if what == "put":
                holder[path[-1]] = value
            else:
                del holder[path[-1]]
        except (LookupError, TypeError):
            continue  # an earlier change took the place away
    return record
