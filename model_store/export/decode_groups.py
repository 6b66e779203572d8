"""Which rows of a batch grow by one token, and in which batches these attend.

Each group is padded to its own longest row: a batch that is padded to the longest of all reads and
writes far more of the cache than its rows have.
"""

import numpy as np

from model_store.export.graph import GraphBuilder
from model_store.export.paged_layout import BLOCK_SIZE

DECODE_GROUPS = ("longest", "long", "short", "shortest")


def write_decode_groups(graph: GraphBuilder, *, kv_heads: int, head_size: int) -> None:
    """Compute what every layer's attention needs beside the layout of the batch.

    Leaves these values:

    - ``decode_token`` ``[decodes]``: rows with one new token, longest first; and of those in each
      of the DECODE_GROUPS ``{group}_token`` ``[rows]``, ``_block`` ``[rows, kv_heads, blocks]``,
      ``_shape`` and ``_mask`` ``[rows, 1, 1, lines]``
    - ``prompt_row`` ``[prompts]``: the other rows
    - ``order`` ``[tokens]``: where each token is when those of decodes come first
    """
    one, first = graph.constant(1), graph.constant([0])
    graph.node("Equal", ["new", one], "is_decode")
    graph.node("Not", ["is_decode"], "is_prompt")
    for kind in ("decode", "prompt"):
        graph.node("NonZero", [f"is_{kind}"], f"{kind}_rows")
    graph.node("Squeeze", ["decode_rows", first], "decode_row_unsorted")
    graph.node("Squeeze", ["prompt_rows", first], "prompt_row")

    _sort_by_length(graph)
    _cut(graph, "decode", "upper", "lower")
    _cut(graph, "upper", *DECODE_GROUPS[:2])
    _cut(graph, "lower", *DECODE_GROUPS[2:])
    graph.node("Gather", ["starts", "decode_row"], "decode_token")
    for group in DECODE_GROUPS:
        _write_group(graph, group, kv_heads, head_size)

    graph.array("minus_infinity", np.array(-np.inf, np.float32))

    graph.node("Gather", ["is_prompt", "row"], "is_prompt_token")
    graph.node("NonZero", ["is_prompt_token"], "prompt_token_row")
    graph.node("Squeeze", ["prompt_token_row", first], "prompt_token")
    graph.node("Concat", ["decode_token", "prompt_token"], "attended_token", axis=0)
    graph.node("ScatterElements", ["token", "attended_token", "token"], "order", axis=0)


def _sort_by_length(graph: GraphBuilder) -> None:
    """Leave ``decode_row``, longest first, and how many blocks each has, ``decode_used``."""
    graph.node("Shape", ["decode_row_unsorted"], "decode_shape")
    graph.node("Gather", ["used", "decode_row_unsorted"], "decode_used_unsorted")
    lengths = ["decode_used_unsorted", "decode_shape"]
    graph.node("TopK", lengths, ["decode_used", "decode_by_length"], axis=0)
    graph.node("Gather", ["decode_row_unsorted", "decode_by_length"], "decode_row")


def _cut(graph: GraphBuilder, rows: str, longer: str, shorter: str) -> None:
    """Cut ``rows`` where both parts together, each padded to its longest, have the fewest blocks.

    With ``used`` as u and n rows, that is at the h with the smallest h * u[0] + (n - h) * u[h].
    """
    zero, one = graph.constant(0), graph.constant(1)
    first = graph.constant([0])
    graph.node("Shape", [f"{rows}_row"], f"{rows}_count")
    graph.node("Squeeze", [f"{rows}_count"], f"{rows}_number")
    padded = _padded_used(graph, rows)
    graph.node("Gather", [padded, zero], f"{rows}_width")
    graph.node("Add", [f"{rows}_number", one], f"{rows}_cuts")
    graph.node("Range", [zero, f"{rows}_cuts", one], f"{rows}_cut")
    graph.node("Mul", [f"{rows}_cut", f"{rows}_width"], f"{rows}_longer_cost")
    graph.node("Sub", [f"{rows}_number", f"{rows}_cut"], f"{rows}_left")
    graph.node("Mul", [f"{rows}_left", padded], f"{rows}_shorter_cost")
    graph.node("Add", [f"{rows}_longer_cost", f"{rows}_shorter_cost"], f"{rows}_cost")
    cut = graph.node("ArgMin", [f"{rows}_cost"], f"{rows}_best_cut", axis=0)
    for kind in ("row", "used"):
        graph.node("Slice", [f"{rows}_{kind}", first, cut], f"{longer}_{kind}")
        graph.node("Slice", [f"{rows}_{kind}", cut, f"{rows}_count"], f"{shorter}_{kind}")


def _padded_used(graph: GraphBuilder, rows: str) -> str:
    """One more than there are, so that no rows have a longest too."""
    return graph.node("Concat", [f"{rows}_used", graph.constant([1])], f"{rows}_used_1", axis=0)


def _write_group(graph: GraphBuilder, group: str, kv_heads: int, head_size: int) -> None:
    """Which blocks the rows of a group read, and what of them counts."""
    zero, one = graph.constant(0), graph.constant(1)
    first, second = graph.constant([0]), graph.constant([1])
    graph.node("Gather", ["starts", f"{group}_row"], f"{group}_token")
    graph.node("Gather", [_padded_used(graph, group), zero], f"{group}_width")
    graph.node("Range", [zero, f"{group}_width", one], f"{group}_column")
    graph.node("Gather", ["blocks", f"{group}_row"], f"{group}_table")
    graph.node("Gather", [f"{group}_table", f"{group}_column"], f"{group}_cut", axis=1)
    graph.node("Slice", [f"{group}_cut", first, second, second], f"{group}_first")
    # A row that is shorter than the longest reads its own first block there.
    graph.node("Less", [f"{group}_cut", zero], f"{group}_is_unused")
    graph.node(
        "Where", [f"{group}_is_unused", f"{group}_first", f"{group}_cut"], f"{group}_cut_used"
    )
    graph.node("Unsqueeze", [f"{group}_cut_used", second], f"{group}_cut_3")
    graph.node("Mul", [f"{group}_cut_3", graph.constant(kv_heads)], f"{group}_first_head")
    graph.node("Add", [f"{group}_first_head", "heads"], f"{group}_block")

    graph.node("Mul", [f"{group}_width", graph.constant(BLOCK_SIZE)], f"{group}_lines")
    graph.node("Unsqueeze", [f"{group}_lines", first], f"{group}_lines_list")
    graph.node("Shape", [f"{group}_row"], f"{group}_count")
    graph.node(
        "Concat",
        [f"{group}_count", graph.constant([kv_heads]), f"{group}_lines_list",
         graph.constant([head_size])],
        f"{group}_shape", axis=0,
    )  # fmt: skip
    graph.node("Range", [zero, f"{group}_lines", one], f"{group}_line")
    graph.node("Gather", ["past", f"{group}_row"], f"{group}_past")
    graph.node("Unsqueeze", [f"{group}_past", graph.constant([1, 2, 3])], f"{group}_past_4")
    graph.node("LessOrEqual", [f"{group}_line", f"{group}_past_4"], f"{group}_mask")
