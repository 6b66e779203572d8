"""A tiny real sentence encoder for tests, through the writer and validation of real ones."""

import json
from pathlib import Path

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from model_store.export.bert import Bert, BertConfig
from model_store.export.weights import Float32, MemoryWeights
from model_store.importing.publish_bert import publish_bert
from model_store.importing.task import ImportTask
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny_text import TEXT
from model_store.tokenizer import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_SEED = 20240301
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_tiny_bert(store: ModelStore, name: str = "tiny-embed") -> ModelVersion:
    """Make a two-layer encoder of 32 dimensions with a context of 128 tokens.

    Equal calls give equal digests.
    """
    with store.stage(name) as folder:
        bert = random_bert(_write_tokenizer(folder))
        source = {"kind": "tiny", "seed": _SEED}
        return publish_bert(ImportTask(store=store, name=name, source=source), folder, bert)


def random_bert(tokenizer: Tokenizer) -> Bert:
    """An encoder with the vocabulary of ``tokenizer`` and weights from the fixed seed."""
    config = BertConfig(
        layers=2,
        hidden=32,
        heads=4,
        feed_forward=64,
        vocabulary=tokenizer.get_vocab_size(),
        context_length=128,
        norm_epsilon=1e-12,
    )
    random = np.random.default_rng(_SEED)

    def draw(*shape: int) -> Float32:
        values: Float32 = random.standard_normal(shape).astype(np.float32)
        return values / np.float32(np.sqrt(shape[-1]))

    hidden, wide = config.hidden, config.feed_forward
    shapes = {
        "embeddings.word_embeddings": (config.vocabulary, hidden),
        "embeddings.position_embeddings": (config.context_length, hidden),
        "embeddings.token_type_embeddings": (2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    tensors = {f"{each}.weight": draw(*shape) for each, shape in shapes.items()}
    for layer in range(config.layers):
        prefix = f"encoder.layer.{layer}."
        linears = {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linears |= {
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (wide, hidden),
            "output.dense": (hidden, wide),
        }
        for each, shape in linears.items():
            tensors[f"{prefix}{each}.weight"] = draw(*shape)
            tensors[f"{prefix}{each}.bias"] = draw(shape[0])
        norms += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
    for norm in norms:
        tensors[f"{norm}.weight"] = np.ones(hidden, np.float32)
        tensors[f"{norm}.bias"] = draw(hidden)
    return Bert(config=config, weights=MemoryWeights(tensors))


def _write_tokenizer(folder: Path) -> Tokenizer:
    """Write a WordPiece tokenizer in BERT's way: the words of the text, and its letters."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(TEXT))}
    letters = {letter for word in words for letter in word}
    pieces = [*_SPECIAL, *sorted(letters), *sorted(f"##{each}" for each in letters)]
    pieces += sorted(words - letters)
    # The library's trainer numbers equally frequent pieces differently on each run.
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(each, tokenizer.token_to_id(each)) for each in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / TOKENIZER_FILE))
    config = {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / TOKENIZER_CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
    return tokenizer
