"""Stop strings, found in text that arrives in pieces."""

from collections.abc import Sequence


class StopMatcher:
    """Lets text through up to the first stop string, and nothing of or after it.

    Text that may be the beginning of a stop string is held back until it is known not to be.
    The first stop string is the one that is complete first; of those that are complete at the
    same character, the longest. So the pieces in which the text arrives make no difference.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched = False
        """Whether a stop string was found; nothing comes out any more."""

    def push(self, text: str) -> str:
        """Take a piece of text; the text that may be shown now."""
        if self.matched:
            return ""
        if not self._stops:
            return text
        seen = self._held + text
        cut = self._find(seen)
        if cut is not None:
            self.matched = True
            self._held = ""
            return seen[:cut]
        keep = self._suspicious(seen)
        self._held = seen[len(seen) - keep :]
        return seen[: len(seen) - keep]

    def flush(self) -> str:
        """The text ends here: what was held back was no stop string."""
        held, self._held = self._held, ""
        return held

    def _find(self, seen: str) -> int | None:
        found = ((seen.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in found if start >= 0]
        return min(ends)[1] if ends else None

    def _suspicious(self, seen: str) -> int:
        """The length of the longest end of ``seen`` that begins a stop string."""
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(seen)), 0, -1):
            end = seen[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
