"""One layer's attention over a paged cache, from operators that every device has.

Rows with one new token, the answers that grow, attend in groups, each over blocks gathered to the
length of its longest. A row with more, a prompt, attends by itself in a loop, at its exact length.
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from model_store.export.decode_groups import DECODE_GROUPS, write_decode_groups
from model_store.export.graph import FLOAT, INT64, MICROSOFT, GraphBuilder, value_info
from model_store.export.paged_layout import BLOCK_SIZE, write_batch_layout
from model_store.export.prompt_rows import write_prompt_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayout:
    """Heads of one attention layer, and the names of its tables for rotation."""

    heads: int
    kv_heads: int
    head_size: int
    scale: float
    cos: str = "rotary_cos"
    sin: str = "rotary_sin"


def write_attention_layout(graph: GraphBuilder, *, kv_heads: int, head_size: int) -> None:
    """Compute once what the attention of every layer needs; comes before all layers."""
    write_batch_layout(graph, kv_heads=kv_heads, head_size=head_size)
    write_decode_groups(graph, kv_heads=kv_heads, head_size=head_size)
    write_prompt_rows(graph, kv_heads=kv_heads)


def write_paged_attention(graph: GraphBuilder, layer: int, qkv: str, heads: HeadLayout) -> str:
    """Attend; ``qkv`` ``[tokens, …]`` holds queries, keys and values side by side.

    Rotates queries and keys, stores the new keys and values, attends, and returns
    ``[tokens, heads * head_size]``.
    """
    prefix = f"layer{layer}."
    _write_rotation(graph, prefix, qkv, heads)
    shape: list[int | str] = ["num_blocks", BLOCK_SIZE, heads.kv_heads, heads.head_size]
    lines = graph.constant([-1, heads.kv_heads, heads.head_size])
    block_of_head = graph.constant([-1, BLOCK_SIZE * heads.head_size])
    for kind in ("key", "value"):
        past = graph.input(f"past_key_values.{layer}.{kind}", FLOAT, shape)
        present = graph.output(f"present.{layer}.{kind}", FLOAT, shape)
        graph.node("Reshape", [f"{prefix}{kind}", lines], f"{prefix}{kind}_lines")
        graph.node("Concat", [f"{prefix}{kind}_lines", "fill"], f"{prefix}new_{kind}", axis=0)
        graph.node("ScatterND", [past, "new_line", f"{prefix}new_{kind}"], present)
        graph.node("Reshape", [present, block_of_head], f"{prefix}{kind}_blocks")
    attended = graph.node(
        "Loop",
        ["prompt_count", "", _write_decodes(graph, prefix, heads)],
        f"{prefix}attended",
        body=_prompt_body(graph, prefix, heads),
    )
    return graph.node("Gather", [attended, "order"], f"{prefix}attended_in_order")


def _write_rotation(graph: GraphBuilder, prefix: str, qkv: str, heads: HeadLayout) -> None:
    """Leave ``query``, ``key`` and ``value`` ``[tokens, …]``; both rotated are turned as one."""
    width, kv_width = heads.heads * heads.head_size, heads.kv_heads * heads.head_size
    first = graph.constant([0])
    parts = graph.constant([width + kv_width, kv_width])
    graph.node("Split", [qkv, parts], [f"{prefix}qk", f"{prefix}value"], axis=-1)
    graph.node("Unsqueeze", [f"{prefix}qk", first], f"{prefix}qk_row")
    graph.node(
        "RotaryEmbedding",
        [f"{prefix}qk_row", "position", heads.cos, heads.sin],
        f"{prefix}qk_rotated",
        domain=MICROSOFT,
    )
    graph.node("Squeeze", [f"{prefix}qk_rotated", first], f"{prefix}qk_turned")
    parts = graph.constant([width, kv_width])
    names = [f"{prefix}query", f"{prefix}key"]
    graph.node("Split", [f"{prefix}qk_turned", parts], names, axis=-1)


def _write_decodes(graph: GraphBuilder, prefix: str, heads: HeadLayout) -> str:
    """Every row has one query. The heads that share keys are the rows of one product.

    (The Attention operator takes no empty batch, and a step may have prompts alone.)
    """
    shared = heads.heads // heads.kv_heads
    queries = graph.constant([-1, heads.kv_heads, shared, heads.head_size])
    graph.node("Reshape", [f"{prefix}query", queries], f"{prefix}queries")
    groups = [_write_group(graph, prefix, group, heads) for group in DECODE_GROUPS]
    graph.node("Concat", groups, f"{prefix}groups", axis=0)
    width = graph.constant([-1, heads.heads * heads.head_size])
    return graph.node("Reshape", [f"{prefix}groups", width], f"{prefix}decoded")


def _write_group(graph: GraphBuilder, prefix: str, group: str, heads: HeadLayout) -> str:
    here = f"{prefix}{group}_"
    graph.node("Gather", [f"{prefix}queries", f"{group}_token"], f"{here}q")
    for kind, name in (("key", f"{here}k"), ("value", f"{here}v")):
        graph.node("Gather", [f"{prefix}{kind}_blocks", f"{group}_block"], f"{name}_blocks")
        graph.node("Reshape", [f"{name}_blocks", f"{group}_shape"], name)
    graph.node(
        "FusedMatMul",
        [f"{here}q", f"{here}k"],
        f"{here}scores",
        domain=MICROSOFT,
        transB=1,
        alpha=heads.scale,
    )
    masked = [f"{here}scores", "minus_infinity"]
    graph.node("Where", [f"{group}_mask", *masked], f"{here}masked")
    graph.node("Softmax", [f"{here}masked"], f"{here}weights", axis=-1)
    return graph.node("MatMul", [f"{here}weights", f"{here}v"], f"{here}mixed")


def _prompt_body(graph: GraphBuilder, prefix: str, heads: HeadLayout) -> onnx.GraphProto:
    """One prompt: its part of the queries over its own blocks, added to what is ``done``."""
    make = helper.make_node
    width = graph.constant([-1, heads.heads * heads.head_size])
    queries = graph.constant([1, -1, heads.heads, heads.head_size])
    lines = graph.constant([1, heads.kv_heads, -1, heads.head_size])
    nodes = [
        make("SequenceAt", ["prompt_tokens", "i"], ["row_tokens"]),
        make("SequenceAt", ["prompt_blocks", "i"], ["row_blocks"]),
        make("SequenceAt", ["prompt_masks", "i"], ["row_mask"]),
        make("Gather", [f"{prefix}query", "row_tokens"], ["row_query"]),
        make("Reshape", ["row_query", queries], ["row_queries"]),
        make("Transpose", ["row_queries"], ["row_q"], perm=[0, 2, 1, 3]),
        make("Gather", [f"{prefix}key_blocks", "row_blocks"], ["row_k_blocks"]),
        make("Gather", [f"{prefix}value_blocks", "row_blocks"], ["row_v_blocks"]),
        make("Reshape", ["row_k_blocks", lines], ["row_k"]),
        make("Reshape", ["row_v_blocks", lines], ["row_v"]),
        make("Attention", ["row_q", "row_k", "row_v", "row_mask"], ["row_out"], scale=heads.scale),
        make("Transpose", ["row_out"], ["row_out_tokens"], perm=[0, 2, 1, 3]),
        make("Reshape", ["row_out_tokens", width], ["row_flat"]),
        make("Concat", ["done", "row_flat"], ["done_next"], axis=0),
        make("Identity", ["go_on"], ["go_on_next"]),
    ]
    boolean = TensorProto.BOOL
    return helper.make_graph(
        nodes,
        f"{prefix}prompt",
        [
            value_info("i", INT64, []),
            value_info("go_on", boolean, []),
            value_info("done", FLOAT, None),
        ],
        [value_info("go_on_next", boolean, []), value_info("done_next", FLOAT, None)],
    )
