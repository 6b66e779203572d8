"""Runs a graph of the paged contract by hand: for validation, without the Engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.runtime import State, open_session

Logits = NDArray[np.float32]


class PagedSession:
    """A paged graph on the CPU with a cache for ``rows`` sequences of ``row_tokens`` tokens.

    A row's blocks are neither adjacent nor in ascending order, and the cache is NaN where nobody
    has written, so that a graph that misreads the one or reads the other gives wrong logits.
    """

    def __init__(self, path: Path, *, rows: int, row_tokens: int, threads: int = 0) -> None:
        self._session = open_session(path, threads=threads)
        past = {name: shape for name, shape in self._session.inputs.items() if "past_key" in name}
        self._block_size = int(next(iter(past.values()))[1])
        row_blocks = -(-row_tokens // self._block_size)
        blocks = rows * row_blocks
        self._table = np.arange(blocks)[::-1].reshape(row_blocks, rows).T
        self._state = {
            name.replace("past_key_values", "present"): State(name, (blocks, *shape[1:]))
            for name, shape in past.items()
        }
        self._lengths = np.zeros(rows, dtype=np.int32)

    def forget(self) -> None:
        """Start every row again from nothing."""
        self._lengths[:] = 0

    def feed(self, batch: Mapping[int, Sequence[int]]) -> list[Logits]:
        """Give each of the rows named in ``batch`` its next tokens, in one run of the graph.

        Returns one array per row, in the order of ``batch``: the logits ``[tokens, vocabulary]``
        after each of its new tokens. Raises EngineError.
        """
        rows = list(batch)
        counts = np.array([len(tokens) for tokens in batch.values()], dtype=np.int32)
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        past = self._lengths[rows]
        blocks_used = -(-(past + counts) // self._block_size)
        table = self._table[rows, : blocks_used.max()]
        longest = (past + counts).max()
        is_used = np.arange(table.shape[1]) < blocks_used[:, None]
        feeds = {
            "input_ids": np.concatenate([np.asarray(each, np.int64) for each in batch.values()]),
            "cumulative_sequence_lengths": bounds,
            "past_sequence_lengths": past,
            "block_table": np.where(is_used, table, -1).astype(np.int32),
            # Bounds for a GPU's launch sizes; the CPU form does not look at them.
            "attention_metadata": np.array([counts.max(), longest, longest], dtype=np.int32),
            "logits_indices": np.arange(bounds[-1], dtype=np.int32),
        }
        [logits] = self._session.run_in_place(["logits"], feeds, self._state)
        self._lengths[rows] += counts
        return np.split(logits, bounds[1:-1])
