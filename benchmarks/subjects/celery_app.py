"""The Celery application of ``celery_task``: the model is loaded once in each process."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import onnxruntime_genai as og
from celery import Celery

from model_store.tokenizer import TextTokenizer

_REDIS = os.environ["TASK_REDIS"]
app = Celery("benchmark", broker=_REDIS, backend=_REDIS)


@functools.cache
def _model() -> tuple[Any, TextTokenizer]:
    config = og.Config(os.environ["TASK_MODEL"])
    config.clear_providers()
    options = {"intra_op_num_threads": int(os.environ["TASK_THREADS"])}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    return og.Model(config), TextTokenizer.load(Path(os.environ["TASK_MODEL"]))


def generate(messages: list[dict[str, str]], max_tokens: int) -> dict[str, Any]:
    """The greedy answer to chat messages."""
    model, tokenizer = _model()
    prompt = tokenizer.prompt_tokens({"messages": messages})
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + max_tokens, do_sample=False)
    generator = og.Generator(model, parameters)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    found = generator.get_sequence(0)[len(prompt) :]
    tokens = [token for token in map(int, found) if token not in tokenizer.eos_token_ids]
    return {"text": tokenizer.decode(tokens), "tokens": len(tokens)}


app.task(name="generate")(generate)
