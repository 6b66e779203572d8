"""Which rows of a batch grow by one token, and in which batches these attend.

Each of the two groups is padded to its own longest row: a batch that is padded to the longest of
all reads and writes far more of the cache than its rows have.
"""

import numpy as np

from model_store.export.graph import GraphBuilder
from model_store.export.paged_layout import BLOCK_SIZE

DECODE_GROUPS = ("long", "short")


def write_decode_groups(graph: GraphBuilder, *, kv_heads: int, head_size: int) -> None:
    """Compute what every layer's attention needs beside the layout of the batch.

    Leaves these values:

    - ``decode_token`` ``[decodes]``: rows with one new token, longest first; and of those in each
      of the DECODE_GROUPS ``{group}_token`` ``[rows]``, ``_block`` ``[rows, kv_heads, blocks]``,
      ``_shape`` and ``_mask`` ``[rows, 1, 1, lines]``; ``heads`` ``[kv_heads, 1]``
    - ``prompt_row`` ``[prompts]``, ``prompt_count``: the other rows
    - ``order`` ``[tokens]``: where each token is when those of decodes come first
    """
    zero, one = graph.constant(0), graph.constant(1)
    first, second = graph.constant([0]), graph.constant([1])
    graph.node("Equal", ["new", one], "is_decode")
    graph.node("Not", ["is_decode"], "is_prompt")
    for kind in ("decode", "prompt"):
        graph.node("NonZero", [f"is_{kind}"], f"{kind}_rows")
    graph.node("Squeeze", ["decode_rows", first], "decode_row_unsorted")
    graph.node("Squeeze", ["prompt_rows", first], "prompt_row")
    graph.node("Shape", ["prompt_row"], "prompt_shape")
    graph.node("Squeeze", ["prompt_shape"], "prompt_count")

    _split_by_length(graph)
    graph.node("Range", [zero, graph.constant(kv_heads), one], "head_list")
    graph.node("Unsqueeze", ["head_list", second], "heads")
    graph.node("Gather", ["starts", "decode_row"], "decode_token")
    for group in DECODE_GROUPS:
        _write_group(graph, group, kv_heads, head_size)

    graph.array("minus_infinity", np.array(-np.inf, np.float32))

    graph.node("Gather", ["is_prompt", "row"], "is_prompt_token")
    graph.node("NonZero", ["is_prompt_token"], "prompt_tokens")
    graph.node("Squeeze", ["prompt_tokens", first], "prompt_token")
    graph.node("Concat", ["decode_token", "prompt_token"], "attended_token", axis=0)
    graph.node("ScatterElements", ["token", "attended_token", "token"], "order", axis=0)


def _split_by_length(graph: GraphBuilder) -> None:
    """Leave ``decode_row``, longest first, cut into groups, and the blocks that each group gathers.

    A group is padded to its longest row. The cut is where both together gather the fewest blocks:
    with ``used`` sorted as u and n rows, at the h with the smallest h * u[0] + (n - h) * u[h].
    """
    zero, one = graph.constant(0), graph.constant(1)
    first = graph.constant([0])
    graph.node("Shape", ["decode_row_unsorted"], "decode_count")
    graph.node("Squeeze", ["decode_count"], "decode_number")
    graph.node("Gather", ["used", "decode_row_unsorted"], "decode_used_unsorted")
    graph.node(
        "TopK",
        ["decode_used_unsorted", "decode_count"],
        ["decode_used", "decode_by_length"],
        axis=0,
    )
    graph.node("Gather", ["decode_row_unsorted", "decode_by_length"], "decode_row")
    # One more than there are rows, so that a step without any has a cut too.
    graph.node("Concat", ["decode_used", graph.constant([1])], "decode_used_1", axis=0)
    graph.node("ReduceMax", ["decode_used_1"], "long_width", keepdims=0)
    graph.node("Add", ["decode_number", one], "decode_number_1")
    graph.node("Range", [zero, "decode_number_1", one], "cut")
    graph.node("Mul", ["cut", "long_width"], "long_cost")
    graph.node("Sub", ["decode_number", "cut"], "short_number")
    graph.node("Mul", ["short_number", "decode_used_1"], "short_cost")
    graph.node("Add", ["long_cost", "short_cost"], "cut_cost")
    graph.node("ArgMin", ["cut_cost"], "best_cut", axis=0)
    graph.node("Gather", ["decode_used_1", "best_cut"], "short_width_list")
    graph.node("Squeeze", ["short_width_list"], "short_width")
    graph.node("Slice", ["decode_row", first, "best_cut"], "long_row")
    graph.node("Slice", ["decode_row", "best_cut", "decode_count"], "short_row")


def _write_group(graph: GraphBuilder, group: str, kv_heads: int, head_size: int) -> None:
    """Which blocks the rows of a group read, and what of them counts."""
    zero, one = graph.constant(0), graph.constant(1)
    first, second = graph.constant([0]), graph.constant([1])
    graph.node("Gather", ["starts", f"{group}_row"], f"{group}_token")
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
