"""Rewrites a decoder with GroupQueryAttention into the paged contract.

That is what onnxruntime-genai's model builder writes for the CPU. Weights are not touched: the
new graph refers to the same data file.
"""

from typing import Any

import onnx
from onnx import helper

from contract.errors import ModelImportError
from model_store.export.genai_config import PAGED_INPUTS, batching_config
from model_store.export.graph import FLOAT, GraphBuilder
from model_store.export.paged_attention import (
    HeadLayout,
    write_attention_layout,
    write_paged_attention,
)
from model_store.export.paged_layout import declare_paged_inputs

_ATTENTION = "GroupQueryAttention"
_OPSET = 23


def rewrite_graph(model: onnx.ModelProto, head_size: int) -> int:
    """Rewrite ``model`` in place; the number of attention layers.

    Raises:
        ModelImportError: an attention layer does something that the paged form cannot.
    """
    graph = model.graph
    if any(each.type.tensor_type.elem_type != FLOAT for each in _caches(graph)):
        raise ModelImportError("the model's cache must be float32 to run on the CPU")
    attentions = [node for node in graph.node if node.op_type == _ATTENTION]
    if not attentions:
        raise ModelImportError(f"the model has no {_ATTENTION} to rewrite")
    layouts = [_heads(node, layer, head_size) for layer, node in enumerate(attentions)]
    if len({each.kv_heads for each in layouts}) > 1:
        raise ModelImportError("the model's layers differ in their heads of keys")
    builder = GraphBuilder()
    declare_paged_inputs(builder)
    write_attention_layout(builder, kv_heads=layouts[0].kv_heads, head_size=head_size)
    logits = next(each for each in graph.output if each.name == "logits")
    vocabulary = logits.type.tensor_type.shape.dim[-1].dim_value
    builder.output("logits", logits.type.tensor_type.elem_type, ["num_logits", vocabulary])
    layer = 0
    for node in graph.node:
        if node.op_type == _ATTENTION:
            _replace_attention(builder, node, layer, layouts[layer])
            layer += 1
            continue
        if node.output[0] == "logits":
            node.input[0] = builder.node("Gather", [node.input[0], "logits_indices"], "wanted")
        builder.nodes.append(node)
    nodes = _needed(builder)
    for old, new in (
        (graph.node, nodes),
        (graph.input, builder.inputs),
        (graph.output, builder.outputs),
    ):
        copies = [type(each).FromString(each.SerializeToString()) for each in new]
        del old[:]
        old.extend(copies)
    graph.initializer.extend(builder.initializers.values())
    del graph.value_info[:]
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = max(opset.version, _OPSET)
    return len(layouts)


def rewrite_config(config: dict[str, Any], layers: int) -> None:
    """Make ``genai_config.json``'s record describe the rewritten graph."""
    decoder = config["model"]["decoder"]
    kept = {key: name for key, name in decoder["inputs"].items() if key.startswith("past_")}
    decoder["inputs"] = {name: name for name in PAGED_INPUTS} | kept
    decoder["state_groups"] = [{"kind": "paged_kv", "layer_ids": list(range(layers))}]
    config["engine"] = {"dynamic_batching": batching_config(on_cuda=False)}


def is_paged(config: dict[str, Any]) -> bool:
    """Whether ``genai_config.json``'s record describes a graph of the paged contract."""
    inputs = config["model"]["decoder"].get("inputs", {})
    return "block_table" in inputs and "engine" in config


def _heads(node: onnx.NodeProto, layer: int, head_size: int) -> HeadLayout:
    """What one attention layer does. Raises ModelImportError where the paged form cannot do it."""
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    odd = {
        "a sliding window": values.get("local_window_size", -1) != -1,
        "soft-capped logits": bool(values.get("softcap")),
        "interleaved rotation": bool(values.get("rotary_interleaved")),
        "no rotation": not values.get("do_rotary"),
        "a bias or sinks": any(node.input[9:]),
        "unusual names of caches": node.input[3] != f"past_key_values.{layer}.key",
    }
    if found := [what for what, applies in odd.items() if applies]:
        raise ModelImportError(f"attention layer {layer} has {', '.join(found)}: not supported")
    return HeadLayout(
        heads=values["num_heads"],
        kv_heads=values["kv_num_heads"],
        head_size=head_size,
        scale=float(values.get("scale") or head_size**-0.5),
        cos=node.input[7],
        sin=node.input[8],
    )


def _replace_attention(
    builder: GraphBuilder, node: onnx.NodeProto, layer: int, heads: HeadLayout
) -> None:
    qkv = node.input[0]
    if node.input[1]:
        qkv = builder.node("Concat", list(node.input[:3]), f"layer{layer}.qkv", axis=-1)
    attended = write_paged_attention(builder, layer, qkv, heads)
    builder.node("Identity", [attended], node.output[0])


def _caches(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [each for each in graph.input if each.name.startswith("past_key_values.")]


def _needed(builder: GraphBuilder) -> list[onnx.NodeProto]:
    """The nodes that an output depends on; what computed attention masks is left out."""
    needed = {each.name for each in builder.outputs}
    kept = []
    for node in reversed(builder.nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= _inputs(node)
    return kept[::-1]


def _inputs(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, in its subgraphs too."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names |= _inputs(inner)
    return names
