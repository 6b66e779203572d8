"""The runbook names what the code says: events with their levels, codes with their status."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from contract import errors
from contract.errors import MillraceError
from producer.problems import status_of

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
LOUD = {"warning", "error", "exception", "critical"}
EVENT = r"[a-z_]+\.[a-z_]+"
#: Events whose names are put together, or given by another library's level.
MADE = {"front.server": {"info", "warning", "error"}}


def codes() -> Mapping[str, type[MillraceError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {each.code: each for each in classes if issubclass(each, MillraceError)}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a log, with its level."""
    for package in ("contract", "producer", "workers", "millrace"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "_log"
                ):
                    yield node.func.attr, node


def logged() -> Mapping[str, set[str]]:
    """The levels of every event; a name that is chosen just before is taken from its text."""
    found: dict[str, set[str]] = defaultdict(set, MADE)
    for level, call in calls():
        name = call.args[0]
        if isinstance(name, ast.Constant):
            found[str(name.value)].add(level)
    for path in (ROOT / "workers").rglob("*.py"):
        for name in re.findall(rf'event = .*?"({EVENT})" if .* else "({EVENT})"', path.read_text()):
            for each in name:
                found[each].add("info")
    return found


def test_every_event_that_is_named_is_logged() -> None:
    named = {
        word for word in re.findall(rf"`({EVENT})[ `]", TEXT) if not word.endswith((".log", ".md"))
    }
    named |= set(re.findall(rf"^    (?:({EVENT})  )+", TEXT, re.M)) - {""}
    assert len(named) > 30
    assert named - set(logged()) == set()


def test_every_line_that_is_quoted_has_its_level() -> None:
    quoted = re.findall(rf"^    \[(\w+) *\] ({EVENT}) ", TEXT + "\n", re.M)
    assert len(quoted) > 20
    wrong = [(level, event) for level, event in quoted if level not in logged()[event]]
    assert wrong == []


def test_every_warning_and_error_has_a_row() -> None:
    rows = set(re.findall(rf"^\| `({EVENT})` \|", TEXT, re.M))
    loud = {event for event, levels in logged().items() if levels & LOUD}
    assert rows == loud


def test_no_event_is_hidden_in_a_variable_at_a_loud_level() -> None:
    hidden = [
        ast.unparse(call)
        for level, call in calls()
        if level in LOUD and not isinstance(call.args[0], ast.Constant)
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("status", "code"), sorted(set(re.findall(r"(\d{3}) (?:\| )?`([a-z_]+)`", TEXT)))
)
def test_every_code_has_the_status_that_is_told(status: str, code: str) -> None:
    assert status_of(codes()[code]) == int(status)


def test_every_other_code_exists() -> None:
    told = re.findall(r"code=([a-z_]+)", TEXT) + re.findall(r"`\[([a-z_]+)\]`", TEXT)
    assert told
    assert set(told) - set(codes()) == set()


def test_the_words_of_a_dead_letter_are_those_of_the_script() -> None:
    (words,) = re.findall(r"^    ([^\d\n]*)\d+([^;\d\n]*); last worker [\w-]+, cause", TEXT, re.M)
    reap = (ROOT / "contract" / "store" / "lua" / "reap.lua").read_text("utf-8")
    for part in words:
        assert f"'{part}" in reap


def test_every_link_inside_leads_somewhere() -> None:
    titles = re.findall(r"^## (.*)$", TEXT, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", TEXT)) <= anchors
    for name in re.findall(r"\]\(([a-z-]+\.md)\)", TEXT):
        assert (ROOT / "docs" / name).exists() or name == "reliability.md"
