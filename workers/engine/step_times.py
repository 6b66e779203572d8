"""From the times of a few steps to the size of a batch. Nothing here touches an engine."""

from dataclasses import dataclass

MOST_WAIT_S = 0.3
"""The longest that running answers should wait for a step that takes up a part of a prompt."""

_LEAST_SLOTS = 4
_LEAST_GAIN = 1.13  # tokens/s, for twice the rows
_MOST_STEP_S = 0.25  # a reader is given a token this often
_DEPTH = 0.75  # speed at the end of a long prompt, which attends to all of it, to the beginning
_GRAIN_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """What a step took: seconds, measured on a loaded engine.

    ``one_row_s`` and ``many_rows_s``: one token for one answer, and for each of ``many_rows``.
    ``mixed_s``: for as many rows, one of which begins. ``prompt_s``: the first ``prompt_tokens``
    of a prompt, alone.
    """

    one_row_s: float
    many_rows_s: float
    many_rows: int
    mixed_s: float
    prompt_s: float
    prompt_tokens: int

    def rows_s(self, rows: int) -> float:
        """Time of a step with ``rows`` answers, on the line through the two measured."""
        if self.many_rows < 2:
            return self.one_row_s
        slope = (self.many_rows_s - self.one_row_s) / (self.many_rows - 1)
        return self.one_row_s + max(slope, 0.0) * (rows - 1)


def choose_slots(times: StepTimes, *, most: int) -> int:
    """Double the rows for as long as that brings more tokens a second, and no step is slow."""
    slots = min(_LEAST_SLOTS, most)
    while 2 * slots <= most and times.rows_s(2 * slots) <= _MOST_STEP_S:
        gain = 2 * times.rows_s(slots) / times.rows_s(2 * slots)
        if gain < _LEAST_GAIN:
            break
        slots *= 2
    return slots


def choose_tokens_per_step(times: StepTimes, *, slots: int, most: int) -> int:
    """As many tokens as keep a step with all ``slots`` busy and a long prompt in MOST_WAIT_S.

    But twice the slots at least, so that prompts have as large a share as running answers, and
    ``most`` at most.
    """
    rows_s = times.mixed_s * slots / times.many_rows
    left_s = max(MOST_WAIT_S - rows_s, MOST_WAIT_S / 4)
    tokens = int(left_s * _DEPTH * times.prompt_tokens / times.prompt_s)
    return min(max(tokens - tokens % _GRAIN_TOKENS, _GRAIN_TOKENS, 2 * slots), most)
