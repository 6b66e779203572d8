"""Stop strings: cut exactly, whatever the pieces."""

from hypothesis import example, given
from hypothesis import strategies as st

from workers.engine.stopping import StopMatcher

# Few letters, so that stops are met, overlap, and begin without ending.
_TEXTS = st.text(alphabet="abé\n", max_size=30)
_STOPS = st.lists(st.text(alphabet="abé\n", min_size=1, max_size=5), max_size=4)


def _shown(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    shown = "".join([matcher.push(piece) for piece in pieces]) + matcher.flush()
    return shown, matcher.matched


def _cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """By definition: read on until some stop is complete; the longest of those counts."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - len(max(met, key=len))], True
    return text, False


@given(st.lists(_TEXTS, max_size=8), _STOPS)
@example(pieces=["a", "b"], stops=["ab"])
@example(pieces=["aab"], stops=["ab", "aab"])
def test_what_is_shown_is_the_text_up_to_the_first_stop(
    pieces: list[str], stops: list[str]
) -> None:
    assert _shown(pieces, stops) == _cut("".join(pieces), stops)


@given(_TEXTS, _STOPS)
def test_the_pieces_make_no_difference(text: str, stops: list[str]) -> None:
    assert _shown(list(text), stops) == _shown([text], stops)


@given(st.lists(_TEXTS, max_size=8), _STOPS)
def test_only_what_may_begin_a_stop_is_held_back(pieces: list[str], stops: list[str]) -> None:
    matcher, pushed, shown = StopMatcher(stops), "", ""
    for piece in pieces:
        pushed += piece
        shown += matcher.push(piece)
        if matcher.matched:
            return
        held = pushed[len(shown) :]
        assert pushed == shown + held
        assert not held or any(stop.startswith(held) and stop != held for stop in stops)


def test_a_stop_across_three_pieces_is_never_shown() -> None:
    matcher = StopMatcher(["<end>"])
    assert [matcher.push(piece) for piece in ("so <", "en", "d> more")] == ["so ", "", ""]
    assert matcher.matched
    assert matcher.flush() == ""


def test_what_looked_like_a_stop_is_shown_when_it_is_none() -> None:
    matcher = StopMatcher(["<end>"])
    assert [matcher.push("a <en"), matcher.push("try>")] == ["a ", "<entry>"]


def test_what_is_held_back_at_the_end_is_shown() -> None:
    matcher = StopMatcher(["<end>"])
    assert matcher.push("a <en") + matcher.flush() == "a <en"
    assert not matcher.matched


def test_without_stops_nothing_is_held_back() -> None:
    matcher = StopMatcher([])
    assert matcher.push("anything") == "anything"
