"""transformers' continuous batching with the same weights, for machines with a GPU."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.subjects.models import source_of, version_of
from benchmarks.subjects.subject import Bench, Reply
from benchmarks.workloads import Item
from contract.errors import MissingDependencyError
from model_store.tokenizer import TextTokenizer

_ANSWER_S = 600


class Transformers:
    """A client of a ContinuousBatchingManager in this process."""

    def __init__(self, manager: Any, tokenizer: TextTokenizer, about: str) -> None:
        self.about = about
        self._manager = manager
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """See :class:`benchmarks.subjects.subject.Subject`; its pieces are not timed."""
        if stream:
            raise RuntimeError("the times of transformers' tokens are not taken")
        prompt = self._tokenizer.prompt_tokens(item.stored_input)
        with self._lock:
            request_id = self._manager.add_request(prompt, max_new_tokens=item.max_tokens)
        result = self._manager.get_result(request_id, timeout=_ANSWER_S)
        if result is None or result.error:
            raise RuntimeError(f"transformers failed: {result and result.error}")
        ended = [t for t in result.generated_tokens if t in self._tokenizer.eos_token_ids]
        text = self._tokenizer.decode(result.generated_tokens)
        return Reply(tokens=len(result.generated_tokens) - len(ended), text=text)

    def processes(self) -> list[int]:
        """None of its own."""
        return []


@contextmanager
def open_transformers(bench: Bench, form: str) -> Iterator[Transformers]:
    """The weights in ``fp16`` on the GPU, batched as transformers itself does it.

    Raises:
        MissingDependencyError: torch and transformers are not installed, or see no GPU.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig, __version__
    except ImportError as error:
        raise MissingDependencyError(
            "transformers is missing; `pip install 'millrace[export]'` brings it"
        ) from error
    if form != "fp16" or not torch.cuda.is_available():
        raise MissingDependencyError("transformers is measured at fp16 on a GPU, and none is seen")
    source = source_of(bench.store)
    tokenizer = TextTokenizer.load(version_of(bench.store, "fp32").path)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float16, attn_implementation="sdpa_paged"
    ).to("cuda")
    config = GenerationConfig(
        do_sample=False, eos_token_id=sorted(tokenizer.eos_token_ids), max_new_tokens=128
    )
    manager = model.init_continuous_batching(generation_config=config)
    manager.start()
    try:
        about = f"transformers {__version__}, continuous batching, fp16, sdpa_paged"
        yield Transformers(manager, tokenizer, about)
    finally:
        manager.stop(block=True)
