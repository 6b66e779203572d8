"""A helper process that counts tokens: ``python -m producer.token_count``.

It reads one JSON line per question from its standard input, ``{"folder", "input"}`` with an
input as jobs store it. It answers each with two lines: ``{"loaded": true}`` when it has the
tokenizer, then ``{"counts": [n, …]}`` (one for a prompt, one for each text to embed) or
``{"refused": why}``. The front kills it when that takes too long, and its memory is capped, so no
prompt can hold up or fill the process that serves HTTP.
"""

import contextlib
import functools
import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMORY_BYTES = 3 << 30  # of address space, most of which is never touched


def main() -> None:
    """Answer until standard input ends."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from contract.errors import InvalidRequestError
    from model_store.tokenizer import TextTokenizer

    load = functools.lru_cache(maxsize=4)(TextTokenizer.load)

    def count(tokenizer: TextTokenizer, stored: Mapping[str, Any]) -> list[int]:
        if "texts" in stored:
            return [len(tokenizer.encode(text)) for text in stored["texts"]]
        return [len(tokenizer.prompt_tokens(stored))]

    def say(answer: Mapping[str, Any]) -> None:
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()

    for line in sys.stdin.buffer:
        question = json.loads(line)
        tokenizer = load(Path(question["folder"]))
        say({"loaded": True})
        try:
            say({"counts": count(tokenizer, question["input"])})
        except InvalidRequestError as error:
            say({"refused": error.detail})


if __name__ == "__main__":
    main()
