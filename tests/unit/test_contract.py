"""What producers and workers agree on."""

import re
from pathlib import Path

import pytest

from contract import errors, keys
from contract.fingerprint import fingerprint, is_deterministic
from contract.job import TERMINAL, TRANSITIONS, JobState
from contract.queues import queue_name

ROOT = Path(__file__).resolve().parents[2]
LUA = sorted((ROOT / "contract" / "store" / "lua").rglob("*.lua"))


def test_every_error_has_a_code_of_its_own() -> None:
    tree = errors.MillraceError
    codes = [c.code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, tree)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_a_terminal_state_is_left_by_redrive_alone() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {s: set(TRANSITIONS[s]) for s in TERMINAL if TRANSITIONS[s]} == {
        JobState.FAILED: {JobState.QUEUED}
    }


def test_the_key_table_in_the_documentation_is_the_one_of_the_code() -> None:
    rows = [f"| `{k.template}` | {k.type} | {k.writer} | {k.reader} | {k.ttl} |" for k in keys.ALL]
    lines = (ROOT / "docs" / "redis.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| `mr:")] == rows


def test_no_two_families_of_keys_can_meet() -> None:
    templates = [k.template for k in keys.ALL]
    assert len(set(templates)) == len(templates)
    assert keys.JOB("job_1") == "mr:job:job_1"
    assert "function key.finished(p1, p2) return 'mr:finished:' .. p1 .. ':' .. p2 end" in (
        keys.lua_functions()
    )


@pytest.mark.parametrize(
    "script", [s for s in LUA if s.parent.name != "parts"], ids=lambda s: s.stem
)
def test_every_script_documents_its_keys_arguments_and_answer(script: Path) -> None:
    head = script.read_text()
    for word in (script.stem.upper(), "-- KEYS", "-- ARGV", "-- RETURN"):
        assert word in head


def test_the_clock_of_every_script_is_that_of_redis() -> None:
    for script in LUA:
        assert "os." not in script.read_text()


GREEDY = {"max_tokens": 8, "temperature": 0, "seed": None, "top_p": 1.0, "top_k": 0}


def test_only_what_must_repeat_may_be_shared() -> None:
    assert is_deterministic("generate", GREEDY)
    assert is_deterministic("generate", {**GREEDY, "temperature": 0.7, "seed": 0})
    assert not is_deterministic("generate", {**GREEDY, "temperature": 0.7})
    assert is_deterministic("embed", {})


def test_a_fingerprint_changes_with_everything_that_changes_the_answer() -> None:
    prompt = {"prompt": "é"}
    same = fingerprint("d", "generate", prompt, GREEDY)
    assert same == fingerprint("d", "generate", dict(prompt), {**GREEDY, "seed": 7, "top_k": 3})
    others = [
        fingerprint("e", "generate", prompt, GREEDY),
        fingerprint("d", "embed", prompt, GREEDY),
        fingerprint("d", "generate", {"prompt": "e"}, GREEDY),
        fingerprint("d", "generate", prompt, {**GREEDY, "max_tokens": 9}),
        fingerprint("d", "generate", prompt, {**GREEDY, "temperature": 0.5, "seed": 7}),
        fingerprint("d", "generate", prompt, {**GREEDY, "temperature": 0.5, "seed": 8}),
    ]
    assert len({same, *others}) == 7


def test_other_files_under_the_same_name_are_another_queue() -> None:
    assert queue_name("m", "a" * 64) != queue_name("m", "b" * 64)
