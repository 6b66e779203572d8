"""Micro-batches: every text once, bounded padding."""

from hypothesis import given
from hypothesis import strategies as st

from workers.engine.micro_batches import micro_batches


@given(
    st.lists(st.integers(min_value=1, max_value=300)),
    st.integers(min_value=1, max_value=1000),
    st.integers(min_value=1, max_value=9),
)
def test_every_text_is_in_one_batch_and_no_batch_is_too_large(
    lengths: list[int], max_padded_tokens: int, max_rows: int
) -> None:
    batches = micro_batches(lengths, max_padded_tokens=max_padded_tokens, max_rows=max_rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max_rows
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= max_padded_tokens or len(batch) == 1


def test_texts_of_like_length_are_together() -> None:
    assert micro_batches([9, 1, 9, 1], max_padded_tokens=18, max_rows=8) == [[1, 3], [0, 2]]
