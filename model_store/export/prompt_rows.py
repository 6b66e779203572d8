"""What the attention of every layer needs of each prompt: a row with more than one new token."""

import onnx
from onnx import TensorProto, helper

from model_store.export.graph import INT64, GraphBuilder, value_info
from model_store.export.paged_layout import BLOCK_SIZE

_LISTS = {
    "prompt_tokens": INT64,
    "prompt_blocks": INT64,
    "prompt_masks": TensorProto.BOOL,
}


def write_prompt_rows(graph: GraphBuilder, *, kv_heads: int) -> None:
    """Leave, once for all layers, ``prompt_count`` and these sequences, one tensor per prompt.

    - ``prompt_tokens`` ``[new]``: where its tokens are in the list of all
    - ``prompt_blocks`` ``[kv_heads, blocks]``: its blocks of the cache, for each head
    - ``prompt_masks`` ``[new, lines]``: which of the lines in them each token sees
    """
    graph.node("Shape", ["prompt_row"], "prompt_shape")
    graph.node("Squeeze", ["prompt_shape"], "prompt_count")
    for name, kind in _LISTS.items():
        graph.node("SequenceEmpty", [], f"{name}_none", dtype=kind)
    none = [f"{name}_none" for name in _LISTS]
    graph.node("Loop", ["prompt_count", "", *none], list(_LISTS), body=_body(graph, kv_heads))


def _body(graph: GraphBuilder, kv_heads: int) -> onnx.GraphProto:
    make = helper.make_node
    zero, one = graph.constant(0), graph.constant(1)
    first, second = graph.constant([0]), graph.constant([1])
    nodes = [
        make("Gather", ["prompt_row", "i"], ["r"]),
        make("Gather", ["starts", "r"], ["start"]),
        make("Gather", ["ends", "r"], ["end"]),
        make("Range", ["start", "end", one], ["row_tokens"]),
        make("Gather", ["used", "r"], ["row_used"]),
        make("Unsqueeze", ["row_used", first], ["used_list"]),
        make("Gather", ["blocks", "r"], ["row_table"]),
        make("Slice", ["row_table", first, "used_list", first], ["row_used_blocks"]),
        make("Mul", ["row_used_blocks", graph.constant(kv_heads)], ["row_first_head"]),
        make("Add", ["row_first_head", "heads"], ["row_blocks"]),
        make("Gather", ["past", "r"], ["cached"]),
        make("Gather", ["total", "r"], ["length"]),
        make("Range", ["cached", "length", one], ["query_position"]),
        make("Unsqueeze", ["query_position", second], ["query_column"]),
        make("Mul", ["row_used", graph.constant(BLOCK_SIZE)], ["row_lines"]),
        make("Range", [zero, "row_lines", one], ["key_position"]),
        make("LessOrEqual", ["key_position", "query_column"], ["row_mask"]),
        make("SequenceInsert", ["so_far_tokens", "row_tokens"], ["with_tokens"]),
        make("SequenceInsert", ["so_far_blocks", "row_blocks"], ["with_blocks"]),
        make("SequenceInsert", ["so_far_masks", "row_mask"], ["with_masks"]),
        make("Identity", ["go_on"], ["go_on_next"]),
    ]
    sequence = helper.make_tensor_sequence_value_info
    inputs = [value_info("i", INT64, []), value_info("go_on", TensorProto.BOOL, [])]
    outputs = [value_info("go_on_next", TensorProto.BOOL, [])]
    for name, kind in _LISTS.items():
        part = name.removeprefix("prompt_")
        inputs.append(sequence(f"so_far_{part}", kind, None))
        outputs.append(sequence(f"with_{part}", kind, None))
    return helper.make_graph(nodes, "prompt_rows", inputs, outputs)
