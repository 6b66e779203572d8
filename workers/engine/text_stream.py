"""From tokens to the text that may be shown."""

from collections.abc import Sequence

from workers.engine.detokenizer import Detokenizer
from workers.engine.stopping import StopMatcher


class TextStream:
    """The text of one answer. The pieces that come out, joined, are ``text``."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str]) -> None:
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(stops)
        self._pieces: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; the answer ends before it."""
        return self._matcher.matched

    @property
    def text(self) -> str:
        """Everything that came out."""
        return "".join(self._pieces)

    def push(self, token: int) -> str:
        """Take a token; the new text, often one word, sometimes none."""
        return self._emit(self._matcher.push(self._detokenizer.push(token)))

    def finish(self) -> str:
        """No token follows; the text that was held back."""
        last = self._matcher.push(self._detokenizer.flush())
        return self._emit(last + self._matcher.flush())

    def _emit(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece
