"""Who waits for whose prompt."""

import pytest

from workers.engine.prefixes import LEAST_TOKENS, PromptPrefixes

BLOCK = 16
SYSTEM = list(range(LEAST_TOKENS))


@pytest.fixture
def prefixes() -> PromptPrefixes[str]:
    return PromptPrefixes(block_size=BLOCK)


def test_a_prompt_waits_while_another_computes_what_they_share(
    prefixes: PromptPrefixes[str],
) -> None:
    for number, name in enumerate(("first", "second")):
        prefixes.join(name, [*SYSTEM, 1000 + number])
    assert not prefixes.gains_by_waiting("first")
    prefixes.enter("first")
    assert prefixes.gains_by_waiting("second")
    prefixes.computed("first")
    assert not prefixes.gains_by_waiting("second")


def test_nobody_waits_for_what_the_cache_has_already(prefixes: PromptPrefixes[str]) -> None:
    for name in ("earlier", "running", "new"):
        prefixes.join(name, [*SYSTEM, *[ord(name[0])] * BLOCK])
    prefixes.enter("earlier")
    prefixes.computed("earlier")
    prefixes.leave("earlier")
    prefixes.enter("running")
    assert not prefixes.gains_by_waiting("new")


@pytest.mark.parametrize("shared", [0, BLOCK, LEAST_TOKENS - 1])
def test_nobody_waits_for_a_few_tokens(prefixes: PromptPrefixes[str], shared: int) -> None:
    prefixes.join("first", [*SYSTEM[:shared], *[7] * 100])
    prefixes.join("second", [*SYSTEM[:shared], *[8] * 100])
    prefixes.enter("first")
    assert not prefixes.gains_by_waiting("second")


def test_what_comes_behind_a_difference_is_not_shared(prefixes: PromptPrefixes[str]) -> None:
    prefixes.join("first", [*[7] * BLOCK, *SYSTEM])
    prefixes.join("second", [*[8] * BLOCK, *SYSTEM])
    prefixes.enter("first")
    assert not prefixes.gains_by_waiting("second")


@pytest.mark.parametrize("how", ["leave", "interrupt"])
def test_nobody_waits_for_one_that_computes_no_more(
    prefixes: PromptPrefixes[str], how: str
) -> None:
    for name in ("first", "second", "third"):
        prefixes.join(name, SYSTEM)
    prefixes.enter("first")
    getattr(prefixes, how)("first")
    assert not prefixes.gains_by_waiting("second")
    prefixes.enter("second")
    assert prefixes.gains_by_waiting("third")


def test_of_two_that_compute_the_same_the_later_one_is_waited_for_too(
    prefixes: PromptPrefixes[str],
) -> None:
    for name in ("first", "second", "third"):
        prefixes.join(name, SYSTEM)
    prefixes.enter("first")
    prefixes.enter("second")
    prefixes.leave("first")
    assert prefixes.gains_by_waiting("third")
    prefixes.leave("second")
    assert not prefixes.gains_by_waiting("third")
