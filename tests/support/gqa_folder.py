"""Writes a llama the way onnxruntime-genai's model builder does for the CPU."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_store.export.genai_config import genai_config
from model_store.export.llama import Llama
from tests.support.models import copy_tokenizer

Array = NDArray[Any]


class GqaWriter:
    """Builds the graph with an ordinary cache: ``[batch, heads, past, size]`` in and out."""

    def __init__(self, llama: Llama) -> None:
        self.llama = llama
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        domain = "com.microsoft" if operator.startswith(("Group", "Skip")) else ""
        self.nodes.append(
            helper.make_node(operator, inputs, list(outputs), domain=domain, **attributes)
        )
        return outputs[0]

    def weight(self, name: str, value: Array) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def write(self, folder: Path) -> None:
        config, read = self.llama.config, self.llama.weights.read
        cos, sin = config.rotary_tables()
        self.weight("cos_cache", cos)
        self.weight("sin_cache", sin)
        self.weight("one", np.array([1], np.int64))
        self.node("ReduceSum", ["attention_mask", "one"], "mask_sum", keepdims=0)
        self.node("Sub", ["mask_sum", "one"], "mask_last")
        self.node("Cast", ["mask_last"], "seqlens_k", to=TensorProto.INT32)
        self.node("Shape", ["attention_mask"], "mask_shape", start=1, end=2)
        self.node("Squeeze", ["mask_shape"], "mask_length")
        self.node("Cast", ["mask_length"], "total_length", to=TensorProto.INT32)
        x = self.node("Gather", [self.weight("embed", read("embedding")), "input_ids"], "stream")
        epsilon, stream = config.rms_epsilon, x
        norm = self.weight("norm0", read("0.attention_norm"))
        x = self.node("SimplifiedLayerNormalization", [x, norm], "x0", epsilon=epsilon)
        for layer in range(config.layers):
            x = self._attention(layer, x)
            x, stream = self._skip(layer, "mlp", stream, x, read(f"{layer}.mlp_norm"))
            x = self._mlp(layer, x)
            last = layer + 1 == config.layers
            weight = read("final_norm" if last else f"{layer + 1}.attention_norm")
            x, stream = self._skip(layer, "next", stream, x, weight)
        self.node("MatMul", [x, self.weight("head", self.llama.output_weight().T)], "logits")
        self._save(folder)

    def _attention(self, layer: int, x: str) -> str:
        config, read = self.llama.config, self.llama.weights.read
        qkv = np.concatenate([read(f"{layer}.{part}") for part in "qkv"]).T
        self.node("MatMul", [x, self.weight(f"qkv{layer}", qkv)], f"qkv_out{layer}")
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        present = [f"present.{layer}.{kind}" for kind in ("key", "value")]
        lengths = ["seqlens_k", "total_length"]
        out = self.node(
            "GroupQueryAttention",
            [f"qkv_out{layer}", "", "", *past, *lengths, "cos_cache", "sin_cache"],
            f"attended{layer}",
            *present,
            num_heads=config.heads,
            kv_num_heads=config.kv_heads,
            scale=config.attention_scale,
            do_rotary=1,
        )
        return self._linear(layer, "o", out)

    def _mlp(self, layer: int, x: str) -> str:
        gate, up = self._linear(layer, "gate", x), self._linear(layer, "up", x)
        self.node("Sigmoid", [gate], f"sigmoid{layer}")
        self.node("Mul", [gate, f"sigmoid{layer}"], f"silu{layer}")
        return self._linear(layer, "down", self.node("Mul", [f"silu{layer}", up], f"gated{layer}"))

    def _linear(self, layer: int, part: str, x: str) -> str:
        matrix = self.llama.weights.read(f"{layer}.{part}").T
        weight = self.weight(f"{part}{layer}", matrix)
        return self.node("MatMul", [x, weight], f"{part}_out{layer}")

    def _skip(self, layer: int, name: str, stream: str, x: str, norm: Array) -> tuple[str, str]:
        weight = self.weight(f"{name}_norm{layer}", norm)
        outputs = [f"{name}_x{layer}", "", "", f"{name}_stream{layer}"]
        epsilon = self.llama.config.rms_epsilon
        inputs = [stream, x, weight]
        self.node("SkipSimplifiedLayerNormalization", inputs, *outputs, epsilon=epsilon)
        return outputs[0], outputs[3]

    def _save(self, folder: Path) -> None:
        config = self.llama.config
        info = helper.make_tensor_value_info
        ids = [info("input_ids", TensorProto.INT64, ["batch", "seq"])]
        ids.append(info("attention_mask", TensorProto.INT64, ["batch", "total"]))
        caches: dict[str, list[onnx.ValueInfoProto]] = {"past_key_values": [], "present": []}
        for prefix, length in (("past_key_values", "past"), ("present", "total")):
            for layer in range(config.layers):
                for kind in ("key", "value"):
                    shape = ["batch", config.kv_heads, length, config.head_size]
                    name = f"{prefix}.{layer}.{kind}"
                    caches[prefix].append(info(name, TensorProto.FLOAT, shape))
        logits = info("logits", TensorProto.FLOAT, ["batch", "seq", config.vocabulary])
        graph = helper.make_graph(
            self.nodes,
            "gqa",
            [*ids, *caches["past_key_values"]],
            [logits, *caches["present"]],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(
            model,
            str(folder / "model.onnx"),
            save_as_external_data=True,
            location="model.onnx.data",
            size_threshold=256,
        )


def write_gqa_folder(llama: Llama, tokenizer_folder: Path, folder: Path) -> None:
    """Write the graph, a genai_config.json without a paged cache, and the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    GqaWriter(llama).write(folder)
    record = genai_config(llama.config, on_cuda=False)
    decoder = record["model"]["decoder"]
    del record["engine"], decoder["state_groups"]
    caches = ("past_key_names", "past_value_names")
    past = {key: decoder["inputs"][key] for key in caches}
    decoder["inputs"] = {"input_ids": "input_ids", "attention_mask": "attention_mask", **past}
    (folder / "genai_config.json").write_text(json.dumps(record))
    copy_tokenizer(tokenizer_folder, folder)
