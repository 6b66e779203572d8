"""Texts of like length together, so that little is computed for padding."""

from collections.abc import Sequence


def micro_batches(
    lengths: Sequence[int], *, max_padded_tokens: int, max_rows: int
) -> list[list[int]]:
    """Indices of ``lengths`` in batches, shortest first.

    A batch of ``n`` rows whose longest has ``m`` tokens costs ``n * m`` padded tokens; that
    stays within ``max_padded_tokens``, except that one row is always allowed.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows = len(batches[-1]) + 1 if batches else 0
        # Sorted, so this row is the longest of its batch.
        if 0 < rows <= max_rows and rows * lengths[index] <= max_padded_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
