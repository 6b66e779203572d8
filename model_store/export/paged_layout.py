"""Where the tokens of a batch stand and where their cache lines lie: once for all layers.

The paged contract is that of onnxruntime-genai's ``Engine``. The tokens of all rows of a batch lie
in one list, row after row:

- ``input_ids`` ``[tokens]`` int64
- ``cumulative_sequence_lengths`` ``[rows + 1]`` int32: where each row's new tokens begin and end
- ``past_sequence_lengths`` ``[rows]`` int32: how many tokens of the row are in the cache
- ``block_table`` ``[rows, blocks]`` int32: the row's cache blocks in order; -1 where unused
- ``attention_metadata`` ``[3]`` int32: used by the CUDA operator only
- ``logits_indices`` ``[logits]`` int32: the tokens whose logits are wanted
- ``past_key_values.N.key`` and ``.value`` ``[num_blocks, block_size, kv_heads, head_size]``,
  with ``present.N.*`` as outputs that share their memory

What a block holds inside is the graph's own affair. Here the lines of one head lie together, as
``[kv_heads, block_size, head_size]``: gathered blocks are then what attention multiplies, and
nothing is transposed.
"""

import numpy as np

from model_store.export.graph import INT32, INT64, GraphBuilder

BLOCK_SIZE = 16
"""Tokens in one cache block of the CPU form."""

_INT64_MAX = 2**63 - 1


def declare_paged_inputs(graph: GraphBuilder) -> None:
    """Declare the inputs that do not belong to a layer."""
    graph.input("input_ids", INT64, ["num_tokens"])
    graph.input("cumulative_sequence_lengths", INT32, ["batch_plus_1"])
    graph.input("past_sequence_lengths", INT32, ["batch"])
    graph.input("block_table", INT32, ["batch", "max_blocks"])
    graph.input("attention_metadata", INT32, [3])
    graph.input("logits_indices", INT32, ["num_logits"])


def write_batch_layout(graph: GraphBuilder, *, kv_heads: int, head_size: int) -> None:
    """Compute where tokens and their cache lines are.

    Leaves these values:

    - ``starts, ends, past, total, used`` ``[rows]``: bounds in the list of tokens, lengths before
      and after this step, blocks in use; ``blocks`` ``[rows, blocks]``; ``heads`` ``[kv_heads, 1]``
    - ``position`` ``[1, tokens]``
    - ``new_line`` ``[tokens + fill, kv_heads, 3]``: where keys and values are stored;
      ``fill`` ``[fill, kv_heads, head_size]``: zeros
    """
    zero, one = graph.constant(0), graph.constant(1)
    first, second = graph.constant([0]), graph.constant([1])
    for source, name in (
        ("cumulative_sequence_lengths", "bounds"),
        ("past_sequence_lengths", "past"),
        ("block_table", "blocks"),
    ):
        graph.node("Cast", [source], name, to=INT64)
    graph.node("Slice", ["bounds", second, graph.constant([_INT64_MAX])], "ends")
    graph.node("Slice", ["bounds", first, graph.constant([-1])], "starts")
    graph.node("Sub", ["ends", "starts"], "new")
    graph.node("Add", ["past", "new"], "total")
    graph.node("Add", ["total", graph.constant(BLOCK_SIZE - 1)], "total_up")
    graph.node("Div", ["total_up", graph.constant(BLOCK_SIZE)], "used")

    # The row of each token: how many rows have ended at or before it.
    graph.node("Shape", ["input_ids"], "token_shape")
    graph.node("Squeeze", ["token_shape"], "token_count")
    graph.node("Range", [zero, "token_count", one], "token")
    graph.node("Unsqueeze", ["token", second], "token_column")
    graph.node("GreaterOrEqual", ["token_column", "ends"], "is_past_end")
    graph.node("Cast", ["is_past_end"], "is_past_end_int", to=INT64)
    graph.node("ReduceSum", ["is_past_end_int", second], "row", keepdims=0)

    # The position of each token in its sequence.
    graph.node("Gather", ["starts", "row"], "row_start")
    graph.node("Sub", ["token", "row_start"], "offset_in_row")
    graph.node("Gather", ["past", "row"], "row_past")
    graph.node("Add", ["row_past", "offset_in_row"], "flat_position")
    graph.node("Unsqueeze", ["flat_position", first], "position")

    graph.node("Range", [zero, graph.constant(kv_heads), one], "head_list")
    graph.node("Unsqueeze", ["head_list", second], "heads")
    _write_new_lines(graph, kv_heads, head_size)


def _write_new_lines(graph: GraphBuilder, kv_heads: int, head_size: int) -> None:
    """Where the keys and values of this step go, and what fills the rest of a block begun.

    A mask does not hide a line that nobody has written: whatever it makes of a NaN there, a NaN it
    stays. So a block that gets its first line gets all of them, the unused ones as zeros.
    """
    zero, one = graph.constant(0), graph.constant(1)
    second, size = graph.constant([1]), graph.constant(BLOCK_SIZE)
    graph.node("Sub", ["used", one], "last_block")
    graph.node("Mul", ["last_block", size], "last_block_start")
    graph.node("GreaterOrEqual", ["last_block_start", "past"], "is_begun")
    graph.node("Mul", ["used", size], "used_lines")
    graph.node("Where", ["is_begun", "used_lines", "total"], "fill_end")
    graph.node("Range", [zero, size, one], "line")
    graph.node("Unsqueeze", ["total", second], "total_column")
    graph.node("Add", ["total_column", "line"], "after_end")
    graph.node("Unsqueeze", ["fill_end", second], "fill_end_column")
    graph.node("Less", ["after_end", "fill_end_column"], "is_fill")
    graph.node("NonZero", ["is_fill"], "fill_index")
    graph.node("Transpose", ["fill_index"], "fill_index_rows", perm=[1, 0])
    graph.node("GatherND", ["after_end", "fill_index_rows"], "fill_position")
    graph.node("Gather", ["fill_index", zero], "fill_row", axis=0)

    graph.node("Concat", ["row", "fill_row"], "line_row", axis=0)
    graph.node("Concat", ["flat_position", "fill_position"], "line_position", axis=0)
    graph.node("Div", ["line_position", size], "line_block_in_row")
    graph.node("Mod", ["line_position", size], "line_in_block")
    for name in ("line_row", "line_block_in_row"):
        graph.node("Unsqueeze", [name, second], f"{name}_column")
    graph.node("Concat", ["line_row_column", "line_block_in_row_column"], "table_index", axis=1)
    graph.node("GatherND", ["blocks", "table_index"], "line_block")

    # A line of a head, as the two indices that the cache's declared shape has for its place.
    places = np.arange(kv_heads)[None, :] * BLOCK_SIZE + np.arange(BLOCK_SIZE)[:, None]
    pairs = np.stack([places // kv_heads, places % kv_heads], axis=-1)
    graph.array("line_places", pairs.astype(np.int64))
    graph.node("Gather", ["line_places", "line_in_block"], "line_place")
    graph.node("Unsqueeze", ["line_block", graph.constant([1, 2])], "line_block_3")
    graph.node("Expand", ["line_block_3", graph.constant([1, kv_heads, 1])], "line_blocks")
    graph.node("Concat", ["line_blocks", "line_place"], "new_line", axis=2)

    graph.node("Shape", ["fill_row"], "fill_count")
    graph.node(
        "Concat", ["fill_count", graph.constant([kv_heads, head_size])], "fill_shape", axis=0
    )
    graph.node("ConstantOfShape", ["fill_shape"], "fill")
