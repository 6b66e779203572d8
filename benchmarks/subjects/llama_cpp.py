"""llama.cpp's server with the same weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.llama_cpp import llama_gguf, obtain_llama_cpp
from benchmarks.subjects.models import source_of, version_of
from benchmarks.subjects.server import Server
from benchmarks.subjects.subject import Bench, Reply
from benchmarks.subjects.wire import Wire
from benchmarks.workloads import Item
from model_store.tokenizer import TextTokenizer
from tests.support.redis_server import free_port

_SLOTS = 16
_SLOT_TOKENS = 2048  # the longest prompt of any workload, and its answer
_HTTP_THREADS = 80  # more than clients: a request that waits must not hold up the others
_PATH = "/completion"


class LlamaCpp:
    """A client of ``llama-server``."""

    def __init__(self, server: Server, wire: Wire, tokenizer: TextTokenizer, about: str) -> None:
        self.about = about
        self._server = server
        self._wire = wire
        self._tokenizer = tokenizer

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        """See :class:`benchmarks.subjects.subject.Subject`.

        Prompts go as token ids, so it reads the very tokens that the others read. Sampling is
        its shortest way to be greedy.
        """
        body = {
            "prompt": self._tokenizer.prompt_tokens(item.stored_input),
            "n_predict": item.max_tokens,
            "samplers": ["top_k"],
            "top_k": 1,
            "temperature": 0.0,
            "cache_prompt": True,
            "stream": stream,
        }
        if not stream:
            answer = self._wire.post(_PATH, body)
            return Reply(tokens=_tokens(answer), text=answer["content"])
        pieces: list[tuple[float, int]] = []
        texts, tokens = [], 0
        for when_s, _, data in self._wire.events("POST", _PATH, body):
            texts.append(data["content"])
            if data["stop"]:
                tokens = _tokens(data)
            elif data["content"]:
                pieces.append((when_s, len(pieces) + 1))
        return Reply(tokens=tokens, text="".join(texts), pieces=tuple(pieces))

    def processes(self) -> Sequence[int]:
        """The server."""
        return self._server.processes()


@contextmanager
def open_llama_cpp(bench: Bench, form: str) -> Iterator[LlamaCpp]:
    """``llama-server`` on the weights in one of its forms, such as ``q8_0``.

    Raises:
        MissingDependencyError: llama.cpp is not there, and may not or cannot be built.
    """
    llama = obtain_llama_cpp(bench.peers, build=bench.build)
    weights = llama_gguf(llama, source_of(bench.store), bench.peers, form)
    folder = bench.subfolder(f"llama.cpp-{form}")
    port = free_port()
    command = [
        str(llama.server), "--model", str(weights), "--host", "127.0.0.1", "--port", str(port),
        "--parallel", str(_SLOTS), "--ctx-size", str(_SLOTS * _SLOT_TOKENS), "--cont-batching",
        "--threads", str(bench.threads), "--threads-batch", str(bench.threads),
        "--threads-http", str(_HTTP_THREADS),
    ]  # fmt: skip
    server = Server(command, folder / "server.log")
    try:
        # A kept connection would hold one of its threads while its client waits for nothing.
        wire = Wire(port, keep=False)
        server.until(lambda: wire.answers("/health"))
        tokenizer = TextTokenizer.load(version_of(bench.store, "fp32").path)
        about = (
            f"llama-server {llama.version}, {form}, {_SLOTS} slots of {_SLOT_TOKENS} tokens,"
            " continuous batching, prompt cache"
        )
        yield LlamaCpp(server, wire, tokenizer, about)
    finally:
        server.stop()


def _tokens(answer: dict[str, Any]) -> int:
    """Generated tokens. It counts the end-of-sequence token, which nobody else does."""
    return int(answer["tokens_predicted"]) - (answer.get("stop_type") == "eos")
