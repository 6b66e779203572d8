"""What the layers share: rows that grow are cut into groups, and prompts have their own parts."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from model_store.export.decode_groups import DECODE_GROUPS
from model_store.export.graph import INT64, MICROSOFT, GraphBuilder
from model_store.export.paged_attention import write_attention_layout
from model_store.export.paged_layout import BLOCK_SIZE, declare_paged_inputs

KV_HEADS, HEAD_SIZE = 2, 8


@pytest.fixture(scope="module")
def layout() -> onnxruntime.InferenceSession:
    """The part of a graph that all layers share."""
    graph = GraphBuilder()
    declare_paged_inputs(graph)
    write_attention_layout(graph, kv_heads=KV_HEADS, head_size=HEAD_SIZE)
    for group in DECODE_GROUPS:
        graph.output(f"{group}_row", INT64, [f"{group}_rows"])
        shape: list[int | str] = [f"{group}_rows", KV_HEADS, f"{group}_blocks"]
        graph.output(f"{group}_block", INT64, shape)
    graph.output("decode_token", INT64, ["decodes"])
    graph.output("prompt_row", INT64, ["prompts"])
    for name, kind in (
        ("prompt_tokens", INT64),
        ("prompt_blocks", INT64),
        ("prompt_masks", TensorProto.BOOL),
    ):
        graph.outputs.append(helper.make_tensor_sequence_value_info(name, kind, None))
    constants = list(graph.initializers.values())
    proto = helper.make_graph(graph.nodes, "layout", graph.inputs, graph.outputs, constants)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(
    layout: onnxruntime.InferenceSession, new: list[int], past: list[int]
) -> dict[str, np.ndarray]:
    """What the layout says of rows with so many new tokens behind so many that are stored."""
    used = [-(-(a + b) // BLOCK_SIZE) for a, b in zip(new, past, strict=True)]
    table = np.full((len(new), max(used)), -1, np.int32)
    for row, count in enumerate(used):
        table[row, :count] = 100 * row + np.arange(count)
    names = [output.name for output in layout.get_outputs()]
    values = layout.run(
        names,
        {
            "input_ids": np.zeros(sum(new), np.int64),
            "cumulative_sequence_lengths": np.cumsum([0, *new]).astype(np.int32),
            "past_sequence_lengths": np.array(past, np.int32),
            "block_table": table,
            "attention_metadata": np.zeros(3, np.int32),
            "logits_indices": np.zeros(1, np.int32),
        },
    )
    return dict(zip(names, values, strict=True))


def halves(used: list[int]) -> tuple[list[int], list[int]]:
    """The cut of lengths, longest first, that pads to the fewest blocks; try them all."""
    best = min(
        range(len(used)),
        key=lambda cut: cut * used[0] + (len(used) - cut) * used[cut],
        default=0,
    )
    return used[:best], used[best:]


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_cut_where_the_fewest_blocks_are_gathered_and_each_part_is_cut_once_more(
    layout: onnxruntime.InferenceSession, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    rows = int(chance.integers(1, 40))
    past = chance.integers(1, 600, rows).tolist()
    new = [1 if chance.random() < 0.8 else 7 for _ in range(rows)]
    found = run(layout, new, past)
    decodes = [row for row in range(rows) if new[row] == 1]
    ordered = [row for group in DECODE_GROUPS for row in found[f"{group}_row"].tolist()]
    assert sorted(ordered) == decodes
    assert found["decode_token"].tolist() == [sum(new[:row]) for row in ordered]
    used = sorted((-(-(past[row] + 1) // BLOCK_SIZE) for row in decodes), reverse=True)
    parts = [part for half in halves(used) for part in halves(half)]
    gathered = [found[f"{group}_block"].size for group in DECODE_GROUPS]
    assert gathered == [len(part) * max(part, default=0) * KV_HEADS for part in parts]


def test_rows_of_one_length_stay_together_and_a_step_of_prompts_alone_has_no_groups(
    layout: onnxruntime.InferenceSession,
) -> None:
    together = run(layout, [1] * 5, [40] * 5)
    assert [len(together[f"{group}_row"]) for group in DECODE_GROUPS] == [0, 0, 0, 5]
    prompts = run(layout, [3, 9], [0, 20])
    assert not any(len(prompts[f"{group}_row"]) for group in DECODE_GROUPS)


def test_a_prompt_has_its_own_tokens_blocks_and_mask(
    layout: onnxruntime.InferenceSession,
) -> None:
    found = run(layout, [1, 3, 1, 9], [5, 0, 40, 20])
    assert found["prompt_row"].tolist() == [1, 3]
    assert [part.tolist() for part in found["prompt_tokens"]] == [[1, 2, 3], list(range(5, 14))]
    assert [part.tolist() for part in found["prompt_blocks"]] == [
        [[200], [201]],
        [[600, 602], [601, 603]],
    ]
    first, second = found["prompt_masks"]
    assert (first == np.tri(3, BLOCK_SIZE, dtype=bool)).all()
    assert (second == np.tri(9, 2 * BLOCK_SIZE, 20, dtype=bool)).all()
    assert not run(layout, [1], [5])["prompt_masks"]
