"""Attention over a paged key-value cache, from operators that every device has.

The paged contract is that of onnxruntime-genai's ``Engine`` (ONNX Runtime has a PagedAttention
operator for CUDA alone). The tokens of all rows of a batch lie in one list, row after row:

- ``input_ids`` ``[tokens]`` int64
- ``cumulative_sequence_lengths`` ``[rows + 1]`` int32: where each row's new tokens begin and end
- ``past_sequence_lengths`` ``[rows]`` int32: how many tokens of the row are in the cache
- ``block_table`` ``[rows, blocks]`` int32: the row's cache blocks in order; -1 where unused
- ``attention_metadata`` ``[3]`` int32: used by the CUDA operator only
- ``logits_indices`` ``[logits]`` int32: the tokens whose logits are wanted
- ``past_key_values.N.key`` and ``.value`` ``[num_blocks, block_size, kv_heads, head_size]``,
  with ``present.N.*`` as outputs that share their memory
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from model_store.export.graph import FLOAT, INT32, INT64, MICROSOFT, GraphBuilder, value_info

BLOCK_SIZE = 16
"""Tokens in one cache block of the CPU form."""

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayout:
    """Heads of one attention layer, and the names of its tables for rotation."""

    heads: int
    kv_heads: int
    head_size: int
    scale: float
    cos: str = "rotary_cos"
    sin: str = "rotary_sin"


def declare_paged_inputs(graph: GraphBuilder) -> None:
    """Declare the inputs that do not belong to a layer."""
    graph.input("input_ids", INT64, ["num_tokens"])
    graph.input("cumulative_sequence_lengths", INT32, ["batch_plus_1"])
    graph.input("past_sequence_lengths", INT32, ["batch"])
    graph.input("block_table", INT32, ["batch", "max_blocks"])
    graph.input("attention_metadata", INT32, [3])
    graph.input("logits_indices", INT32, ["num_logits"])


def write_batch_layout(graph: GraphBuilder) -> None:
    """Compute, once for all layers, where each token stands and where its cache lines lie.

    Leaves these values: ``starts, ends, past, total`` ``[rows]``, ``position`` ``[1, tokens]``,
    ``write_slot`` ``[tokens, 2]`` (block, offset), ``read_slot`` ``[rows, longest]`` (flat cache
    line of each earlier token), ``column`` ``[longest]``, ``decode_mask`` ``[rows, 1, longest]``,
    ``is_decode`` (every row has exactly one new token) and ``row_count``.
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
    graph.node("Shape", ["past"], "row_shape")
    graph.node("Squeeze", ["row_shape"], "row_count")

    # The row of each token: how many rows have ended at or before it.
    graph.node("Shape", ["input_ids"], "token_shape")
    graph.node("Squeeze", ["token_shape"], "token_count")
    graph.node("Range", [zero, "token_count", one], "token")
    graph.node("Unsqueeze", ["token", second], "token_column")
    graph.node("GreaterOrEqual", ["token_column", "ends"], "is_past_end")
    graph.node("Cast", ["is_past_end"], "is_past_end_int", to=INT64)
    graph.node("ReduceSum", ["is_past_end_int", second], "row", keepdims=0)

    # The position of each token in its sequence, and the cache slot that position owns.
    graph.node("Gather", ["starts", "row"], "row_start")
    graph.node("Sub", ["token", "row_start"], "offset_in_row")
    graph.node("Gather", ["past", "row"], "row_past")
    graph.node("Add", ["row_past", "offset_in_row"], "flat_position")
    graph.node("Unsqueeze", ["flat_position", first], "position")
    size = graph.constant(BLOCK_SIZE)
    graph.node("Div", ["flat_position", size], "block_in_row")
    graph.node("Mod", ["flat_position", size], "line_in_block")
    _columns(graph, ["row", "block_in_row"], "table_index")
    graph.node("GatherND", ["blocks", "table_index"], "block")
    _columns(graph, ["block", "line_in_block"], "write_slot")

    # Every earlier position of every row, as a flat line of the cache.
    graph.node("ReduceMax", ["total"], "longest", keepdims=0)
    graph.node("Range", [zero, "longest", one], "column")
    graph.node("Div", ["column", size], "column_block")
    graph.node("Mod", ["column", size], "column_line")
    graph.node("Gather", ["blocks", "column_block"], "column_blocks", axis=1)
    graph.node("Max", ["column_blocks", zero], "column_blocks_used")  # unused entries are -1
    graph.node("Mul", ["column_blocks_used", size], "column_first_line")
    graph.node("Add", ["column_first_line", "column_line"], "column_slot")
    # Beyond a row's end lie lines that nobody may have written: whatever a mask makes of them, a
    # NaN there stays one. Read the row's own first line instead.
    graph.node("Unsqueeze", ["total", second], "total_column")
    graph.node("Less", ["column", "total_column"], "is_in_row")
    graph.node("Slice", ["column_slot", first, second, second], "first_slot")
    graph.node("Where", ["is_in_row", "column_slot", "first_slot"], "read_slot")

    graph.node("ReduceMax", ["new"], "most_new", keepdims=0)
    graph.node("Equal", ["most_new", one], "is_decode")
    graph.node("Unsqueeze", ["past", second], "past_column")
    graph.node("LessOrEqual", ["column", "past_column"], "row_mask")
    graph.node("Unsqueeze", ["row_mask", graph.constant([1, 2])], "decode_mask")


def write_paged_attention(graph: GraphBuilder, layer: int, qkv: str, heads: HeadLayout) -> str:
    """One layer's attention; ``qkv`` holds queries, keys and values side by side.

    Rotates queries and keys, stores the new keys and
    values, attends, and returns ``[tokens, heads * head_size]``.
    """
    prefix = f"layer{layer}."
    shape: list[int | str] = ["num_blocks", BLOCK_SIZE, heads.kv_heads, heads.head_size]
    width, kv_width = heads.heads * heads.head_size, heads.kv_heads * heads.head_size
    query, key, value = (f"{prefix}{name}_in" for name in "qkv")
    sizes = graph.constant([width, kv_width, kv_width])
    graph.node("Split", [qkv, sizes], [query, key, value], axis=-1)
    first = graph.constant([0])
    for name, source in (("q", query), ("k", key)):
        graph.node("Unsqueeze", [source, first], f"{prefix}{name}_row")
        graph.node(
            "RotaryEmbedding",
            [f"{prefix}{name}_row", "position", heads.cos, heads.sin],
            f"{prefix}{name}_rotated",
            domain=MICROSOFT,
        )
    lines = graph.constant([-1, heads.kv_heads, heads.head_size])
    flat = graph.constant([-1, kv_width])
    for kind, source in (("key", f"{prefix}k_rotated"), ("value", value)):
        past = graph.input(f"past_key_values.{layer}.{kind}", FLOAT, shape)
        present = graph.output(f"present.{layer}.{kind}", FLOAT, shape)
        graph.node("Reshape", [source, lines], f"{prefix}new_{kind}")
        graph.node("ScatterND", [past, "write_slot", f"{prefix}new_{kind}"], present)
        graph.node("Reshape", [present, flat], f"{prefix}{kind}_lines")
    wide = graph.constant([-1, width])
    graph.node("Reshape", [f"{prefix}q_rotated", wide], f"{prefix}q")
    lists = {"first": first, "second": graph.constant([1]), "wide": wide}
    return graph.node(
        "If",
        ["is_decode"],
        f"{prefix}attended",
        then_branch=_decode_branch(prefix, heads, lists),
        else_branch=_mixed_branch(prefix, heads, lists, graph.constant(1)),
    )


def _decode_branch(prefix: str, heads: HeadLayout, lists: dict[str, str]) -> onnx.GraphProto:
    """Every row has one query: a single batched Attention over gathered keys and values."""
    make = helper.make_node
    names = {name: f"{prefix}decode_{name}" for name in ("q", "k", "v", "out", "flat")}
    nodes = [
        make("Gather", [f"{prefix}key_lines", "read_slot"], [names["k"]]),
        make("Gather", [f"{prefix}value_lines", "read_slot"], [names["v"]]),
        make("Unsqueeze", [f"{prefix}q", lists["second"]], [names["q"]]),
        _attention([names["q"], names["k"], names["v"], "decode_mask"], names["out"], heads),
        make("Reshape", [names["out"], lists["wide"]], [names["flat"]]),
    ]
    return helper.make_graph(nodes, f"{prefix}decode", [], [value_info(names["flat"], FLOAT, None)])


def _mixed_branch(
    prefix: str, heads: HeadLayout, lists: dict[str, str], one: str
) -> onnx.GraphProto:
    """Rows of any length: a loop over the rows with exact lengths, so nothing is padded."""
    make = helper.make_node
    first, second = lists["first"], lists["second"]
    body_nodes = [
        make("Gather", ["starts", "i"], ["start"]),
        make("Gather", ["ends", "i"], ["end"]),
        make("Gather", ["total", "i"], ["length"]),
        make("Gather", ["past", "i"], ["cached"]),
        make("Unsqueeze", ["start", first], ["start_list"]),
        make("Unsqueeze", ["end", first], ["end_list"]),
        make("Unsqueeze", ["length", first], ["length_list"]),
        make("Slice", [f"{prefix}q", "start_list", "end_list", first], ["row_q"]),
        make("Unsqueeze", ["row_q", first], ["row_q3"]),
        make("Gather", ["read_slot", "i"], ["row_slots"]),
        make("Slice", ["row_slots", first, "length_list", first], ["row_lines"]),
        make("Gather", [f"{prefix}key_lines", "row_lines"], ["row_k"]),
        make("Gather", [f"{prefix}value_lines", "row_lines"], ["row_v"]),
        make("Unsqueeze", ["row_k", first], ["row_k3"]),
        make("Unsqueeze", ["row_v", first], ["row_v3"]),
        make("Range", ["cached", "length", one], ["query_position"]),
        make("Unsqueeze", ["query_position", second], ["query_column"]),
        make("Slice", ["column", first, "length_list", first], ["key_position"]),
        make("LessOrEqual", ["key_position", "query_column"], ["causal"]),
        _attention(["row_q3", "row_k3", "row_v3", "causal"], "row_out", heads),
        make("Reshape", ["row_out", lists["wide"]], ["row_flat"]),
        make("Concat", ["done", "row_flat"], ["done_next"], axis=0),
        make("Identity", ["go_on"], ["go_on_next"]),
    ]
    boolean = TensorProto.BOOL
    body = helper.make_graph(
        body_nodes,
        f"{prefix}row",
        [
            value_info("i", INT64, []),
            value_info("go_on", boolean, []),
            value_info("done", FLOAT, None),
        ],
        [value_info("go_on_next", boolean, []), value_info("done_next", FLOAT, None)],
    )
    nodes = [
        make("Slice", [f"{prefix}q", first, first, first], [f"{prefix}nothing"]),
        make("Loop", ["row_count", "", f"{prefix}nothing"], [f"{prefix}mixed_out"], body=body),
    ]
    outputs = [value_info(f"{prefix}mixed_out", FLOAT, None)]
    return helper.make_graph(nodes, f"{prefix}mixed", [], outputs)


def _attention(inputs: list[str], output: str, heads: HeadLayout) -> onnx.NodeProto:
    return helper.make_node(
        "Attention",
        inputs,
        [output],
        q_num_heads=heads.heads,
        kv_num_heads=heads.kv_heads,
        scale=heads.scale,
    )


def _columns(graph: GraphBuilder, names: list[str], output: str) -> None:
    """Stack vectors side by side into ``[tokens, len(names)]``."""
    columns = [graph.node("Unsqueeze", [name, graph.constant([1])], f"{name}_c") for name in names]
    graph.node("Concat", columns, output, axis=1)
