"""A tiny real llama for tests and first steps: made in a second, no download.

It goes through the exporter and the validation of the real ones; only its weights are drawn
at random (from a fixed seed) and its tokenizer trained on a page of text.
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from model_store.export.llama import Llama, LlamaConfig
from model_store.export.weights import Float32, MemoryWeights
from model_store.importing.publish_llama import publish_llama
from model_store.importing.task import ImportTask
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from model_store.tiny_text import TEXT
from model_store.tokenizer import CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_SEED = 20240229
_VOCABULARY = 640
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_tiny_llama(store: ModelStore, name: str = "tiny", *, form: str = "fp32") -> ModelVersion:
    """Make a two-layer llama with a chat template and a context of 1024 tokens.

    Its greedy answers vary from prompt to prompt and run on: the end-of-sequence token is never
    the likeliest. Equal calls give equal digests.
    """
    with store.stage(name) as folder:
        tokenizer = _train_tokenizer(folder)
        llama = random_llama(tokenizer)
        source = {"kind": "tiny", "seed": _SEED}
        task = ImportTask(store=store, name=name, form=form, source=source)
        return publish_llama(task, folder, llama)


def random_llama(tokenizer: Tokenizer) -> Llama:
    """A llama with the vocabulary of ``tokenizer`` and weights from the fixed seed."""
    config = LlamaConfig(
        layers=2,
        hidden=64,
        heads=4,
        kv_heads=2,
        head_size=16,
        feed_forward=128,
        vocabulary=tokenizer.get_vocab_size(),
        context_length=1024,
        rms_epsilon=1e-5,
        rope_base=10000.0,
        tied=False,
        # The trainer numbers the special tokens first, in their order.
        bos_token_id=_SPECIAL.index("<|im_start|>"),
        eos_token_ids=(_SPECIAL.index("<|im_end|>"),),
        pad_token_id=_SPECIAL.index("<|endoftext|>"),
    )
    random = np.random.default_rng(_SEED)

    def draw(rows: int, columns: int, scale: float = 1.0) -> Float32:
        values: Float32 = random.standard_normal((rows, columns)).astype(np.float32)
        return values * np.float32(scale / np.sqrt(columns))

    hidden, width = config.hidden, config.heads * config.head_size
    kv_width = config.kv_heads * config.head_size
    tensors = {
        "embedding": draw(config.vocabulary, hidden, np.sqrt(hidden)),
        "final_norm": np.ones(hidden, np.float32),
        "output": draw(config.vocabulary, hidden, 3.0) * _speakable(tokenizer)[:, None],
    }
    for layer in range(config.layers):
        tensors |= {
            f"{layer}.attention_norm": np.ones(hidden, np.float32),
            # Sharp attention that outweighs the last token keeps greedy text out of short loops.
            f"{layer}.q": draw(width, hidden, 2.0),
            f"{layer}.k": draw(kv_width, hidden, 2.0),
            f"{layer}.v": draw(kv_width, hidden, 2.0),
            f"{layer}.o": draw(hidden, width, 2.0),
            f"{layer}.mlp_norm": np.ones(hidden, np.float32),
            f"{layer}.gate": draw(config.feed_forward, hidden, 2.0),
            f"{layer}.up": draw(config.feed_forward, hidden),
            f"{layer}.down": draw(hidden, config.feed_forward),
        }
    return Llama(config=config, weights=MemoryWeights(tensors))


def _speakable(tokenizer: Tokenizer) -> Float32:
    """1 for tokens that are plain text, 0 for special tokens, lone bytes and control characters.

    A zero row of the output matrix gives the logit 0, which is never the greatest of hundreds.
    """
    size = tokenizer.get_vocab_size()
    texts = [tokenizer.decode([index], skip_special_tokens=True) for index in range(size)]
    return np.array(
        [text.isprintable() and "\ufffd" not in text and text != "" for text in texts], np.float32
    )


def _train_tokenizer(folder: Path) -> Tokenizer:
    """Train and write a byte-level BPE tokenizer with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in _SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.strip().splitlines(), trainer)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": _CHAT_TEMPLATE,
    }
    (folder / TOKENIZER_CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
    (folder / CHAT_TEMPLATE_FILE).write_text(_CHAT_TEMPLATE)
    return tokenizer
