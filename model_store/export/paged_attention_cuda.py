"""Attention over a paged key-value cache by the operator that ONNX Runtime has for CUDA.

The inputs are those of ``paged_attention``; the operator finds each token's place by itself.
"""

from model_store.export.graph import MICROSOFT, GraphBuilder
from model_store.export.paged_attention import HeadLayout

CUDA_BLOCK_SIZE = 256
"""Tokens in one cache block; the kernels want multiples of 256."""


def write_cuda_attention(graph: GraphBuilder, layer: int, qkv: str, heads: HeadLayout) -> str:
    """One layer's attention, rotation included; ``qkv`` holds all three side by side.

    Returns ``[tokens, heads * head_size]``.
    """
    shape: list[int | str] = ["num_blocks", CUDA_BLOCK_SIZE, heads.kv_heads, heads.head_size]
    past = [
        graph.input(f"past_key_values.{layer}.{kind}", graph.float_type, shape)
        for kind in ("key", "value")
    ]
    present = [
        graph.output(f"present.{layer}.{kind}", graph.float_type, shape)
        for kind in ("key", "value")
    ]
    lengths = ["cumulative_sequence_lengths", "past_sequence_lengths", "block_table"]
    # After the tables: slot mapping, sink, two norms and two scales, none of which a llama has.
    inputs = [qkv, "", "", *past, *lengths, heads.cos, heads.sin, *[""] * 6]
    return graph.node(
        "PagedAttention",
        [*inputs, "attention_metadata"],
        [f"layer{layer}.attended", *present],
        domain=MICROSOFT,
        num_heads=heads.heads,
        kv_num_heads=heads.kv_heads,
        scale=heads.scale,
        do_rotary=1,
        rotary_interleaved=0,
        local_window_size=-1,
        softcap=0.0,
    )
