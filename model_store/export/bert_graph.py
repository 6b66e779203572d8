"""Writes a BERT sentence encoder as an ONNX graph, pooling and normalisation included."""

from pathlib import Path

import numpy as np

from model_store.export.bert import Bert
from model_store.export.graph import FLOAT, INT32, INT64, MICROSOFT, GraphWriter
from model_store.export.weights import Float32

OUTPUT = "sentence_embedding"

_TINY = np.float32(1e-9)


def write_bert_graph(bert: Bert, folder: Path) -> None:
    """Write ``model.onnx`` and its data file.

    Inputs ``input_ids`` and ``attention_mask`` ``[batch, seq]`` int64; the output
    ``sentence_embedding`` ``[batch, hidden]`` float32 is the mean of the last hidden states over
    the tokens that are not masked, scaled to length 1 (Reimers and Gurevych, Sentence-BERT, 2019).
    """
    with GraphWriter(folder) as graph:
        _BertWriter(bert, graph).write()
        graph.save({"architecture": "bert", "form": "fp32"})


class _BertWriter:
    def __init__(self, bert: Bert, graph: GraphWriter) -> None:
        self.config = bert.config
        self.weights = bert.weights
        self.graph = graph

    def write(self) -> None:
        graph = self.graph
        graph.input("input_ids", INT64, ["batch", "seq"])
        graph.input("attention_mask", INT64, ["batch", "seq"])
        graph.output(OUTPUT, FLOAT, ["batch", self.config.hidden])
        graph.node("Cast", ["attention_mask"], "mask", to=FLOAT)
        graph.node("Cast", ["attention_mask"], "key_mask", to=INT32)
        x = self._embed()
        for layer in range(self.config.layers):
            x = self._layer(f"encoder.layer.{layer}.", x)
        self._pool(x)

    def _embed(self) -> str:
        graph, read = self.graph, self.weights.read
        words = graph.weight("words", read("embeddings.word_embeddings.weight"))
        # One segment only: its embedding is the same for every token.
        places = read("embeddings.position_embeddings.weight")
        segment = read("embeddings.token_type_embeddings.weight")[0]
        positions = graph.weight("positions", places + segment)
        graph.node("Gather", [words, "input_ids"], "word_embeddings")
        graph.node("Shape", ["input_ids"], "length", start=1, end=2)
        first = graph.constant([0])
        graph.node("Slice", [positions, first, "length", first], "position_embeddings")
        x = graph.node("Add", ["word_embeddings", "position_embeddings"], "embeddings")
        return self._norm("embeddings.LayerNorm", x)

    def _layer(self, prefix: str, x: str) -> str:
        graph = self.graph
        attended = self._attention(f"{prefix}attention.", x)
        attended = self._linear(f"{prefix}attention.output.dense", attended)
        graph.node("Add", [attended, x], f"{prefix}attention_sum")
        x = self._norm(f"{prefix}attention.output.LayerNorm", f"{prefix}attention_sum")
        wide = self._linear(f"{prefix}intermediate.dense", x)
        graph.node("Gelu", [wide], f"{prefix}gelu")
        narrow = self._linear(f"{prefix}output.dense", f"{prefix}gelu")
        graph.node("Add", [narrow, x], f"{prefix}output_sum")
        return self._norm(f"{prefix}output.LayerNorm", f"{prefix}output_sum")

    def _attention(self, prefix: str, x: str) -> str:
        """Self-attention over ``x`` ``[batch, seq, hidden]``."""
        inputs = [self._linear(f"{prefix}self.{part}", x) for part in ("query", "key", "value")]
        return self.graph.node(
            "MultiHeadAttention",
            [*inputs, "", "key_mask"],
            f"{prefix}attended",
            domain=MICROSOFT,
            num_heads=self.config.heads,
            scale=float(self.config.head_size**-0.5),
        )

    def _pool(self, x: str) -> None:
        graph = self.graph
        rows = graph.constant([1])  # the tokens; once they are pooled, the dimensions
        graph.node("Unsqueeze", ["mask", graph.constant([2])], "mask_column")
        graph.node("Mul", [x, "mask_column"], "kept")
        graph.node("ReduceSum", ["kept", rows], "summed", keepdims=0)
        graph.node("ReduceSum", ["mask_column", rows], "counted", keepdims=0)
        least = graph.weight("least", np.array(_TINY))
        graph.node("Max", ["counted", least], "count")
        graph.node("Div", ["summed", "count"], "mean")
        graph.node("ReduceL2", ["mean", rows], "length_of_mean", keepdims=1)
        graph.node("Max", ["length_of_mean", least], "norm")
        graph.node("Div", ["mean", "norm"], OUTPUT)

    def _linear(self, name: str, x: str) -> str:
        graph = self.graph
        matrix: Float32 = self.weights.read(f"{name}.weight")
        graph.node("MatMul", [x, graph.weight(f"{name}.weight", matrix.T)], f"{name}_product")
        bias = graph.weight(f"{name}.bias", self.weights.read(f"{name}.bias"))
        return graph.node("Add", [f"{name}_product", bias], f"{name}_out")

    def _norm(self, name: str, x: str) -> str:
        read, graph = self.weights.read, self.graph
        inputs = [
            graph.weight(f"{name}.{part}", read(f"{name}.{part}")) for part in ("weight", "bias")
        ]
        return graph.node(
            "LayerNormalization",
            [x, *inputs],
            f"{name}_out",
            axis=-1,
            epsilon=self.config.norm_epsilon,
        )
