"""Embeddings on ONNX Runtime: micro-batches of texts of like length, from all waiting runs."""

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import structlog

from contract.errors import InvalidModelError
from model_store.manifest import ModelVersion
from model_store.runtime import Session, open_session
from model_store.tokenizer import TextTokenizer
from workers.engine.admission import Admission
from workers.engine.device import CPU, parse_device, usable_threads
from workers.engine.engine_thread import EngineThread
from workers.engine.micro_batches import micro_batches
from workers.engine.prompts import embedding_request
from workers.engine.requests import EmbeddingRequest, EmbeddingResult
from workers.engine.run import Run

EmbeddingRun = Run[EmbeddingRequest, EmbeddingResult]

_MODEL_FILE = "model.onnx"
_WINDOW_TEXTS = 512  # sorted together; more would make the first run wait longer for the others
# On a CPU larger batches are no faster, and a cancel waits for the batch in progress.
_CPU_PADDED_TOKENS = 1024
_GPU_PADDED_TOKENS = 16384
_MAX_ROWS = 128
_USUAL_SLOTS = 32
_log = structlog.get_logger()


class EmbeddingEngine(EngineThread[EmbeddingRequest, EmbeddingResult]):
    """Embeds texts. ``slots`` is how many runs may be in the works at once; the rest wait.

    Their number says little, as batches are formed of texts; 0 is a usual one.

    Raises (from the constructor):
        DeviceUnavailableError: the model would not run on the device that was asked for.
        InvalidModelError: the model cannot be loaded, or is no embedding model.
    """

    def __init__(self, version: ModelVersion, *, slots: int, threads: int, device: str) -> None:
        parse_device(device)
        slots = slots or _USUAL_SLOTS
        self.version = version
        self.limit_tokens = version.manifest.context_length
        """The most tokens that one text may have."""
        self._tokenizer = TextTokenizer.load(version.path)
        started_s = time.monotonic()
        super().__init__(
            f"engine-{version.name}",
            lambda: _Batches(version, slots, usable_threads(threads), device),
            slots=slots,
        )
        _log.info(
            "engine.loaded",
            model=version.ref,
            device=device,
            slots=slots,
            threads=usable_threads(threads),
            limit_tokens=self.limit_tokens,
            seconds=round(time.monotonic() - started_s, 2),
        )

    def prompt(
        self,
        stored_input: Mapping[str, Any],
        parameters: Mapping[str, Any],  # noqa: ARG002  (an embedding has none)
        *,
        seed: int | None = None,  # noqa: ARG002
    ) -> EmbeddingRequest:
        """Tokenize the stored texts, on the caller's thread.

        Raises:
            EmptyPromptError: a text is empty.
            PromptTooLongError: a text has more tokens than the model takes; it is never cut.
        """
        return embedding_request(self._tokenizer, self.limit_tokens, stored_input)


class _Progress:
    """A run inside, with the rows that are there."""

    __slots__ = ("missing", "rows", "run")

    def __init__(self, run: EmbeddingRun, dimensions: int) -> None:
        self.run = run
        self.missing = len(run.request.texts_tokens)
        self.rows = np.zeros((self.missing, dimensions), np.float32)


_Text = tuple[_Progress, int]
"""A run and which of its texts."""


class _Batches:
    """The stepper: one micro-batch a step."""

    def __init__(self, version: ModelVersion, slots: int, threads: int, device: str) -> None:
        self._session = open_session(version.path / _MODEL_FILE, device=device, threads=threads)
        self._output = _find_output(self._session, version)
        self._dimensions = int(self._session.outputs[self._output][-1])
        on_cpu = self._session.device == CPU
        self._max_padded_tokens = _CPU_PADDED_TOKENS if on_cpu else _GPU_PADDED_TOKENS
        # A cache without end: texts leave nothing behind.
        self._line: Admission[EmbeddingRun] = Admission(
            slots=slots, num_blocks=sys.maxsize, block_size=1
        )
        self._inside: list[_Progress] = []
        self._batches: deque[list[_Text]] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._inside) or self._line.waiting > 0

    @property
    def running(self) -> int:
        return len(self._inside)

    def add(self, run: EmbeddingRun) -> None:
        self._line.join(run, priority=run.priority)

    def step(self) -> None:
        self._drop_cancelled()
        if not self._batches:
            self._form_batches()
        if self._batches:
            self._compute(self._batches.popleft())

    def close(self) -> None:
        del self._session

    def _drop_cancelled(self) -> None:
        for run in self._line.remove_waiting(lambda run: run.cancelled):
            run.drop()
        for progress in [each for each in self._inside if each.run.cancelled]:
            self._release(progress)
            progress.run.drop()

    def _release(self, progress: _Progress) -> None:
        self._inside.remove(progress)
        self._line.release(progress.run)

    def _form_batches(self) -> None:
        """Take whole runs in their order and sort their texts into batches."""
        texts: list[_Text] = []
        while len(texts) < _WINDOW_TEXTS and (run := self._line.admit()) is not None:
            progress = _Progress(run, self._dimensions)
            self._inside.append(progress)
            texts += [(progress, index) for index in range(progress.missing)]
        lengths = [len(_tokens_of(text)) for text in texts]
        batches = micro_batches(
            lengths, max_padded_tokens=self._max_padded_tokens, max_rows=_MAX_ROWS
        )
        self._batches.extend([texts[index] for index in batch] for batch in batches)

    def _compute(self, batch: list[_Text]) -> None:
        wanted = [text for text in batch if not text[0].run.cancelled]
        if not wanted:
            return
        vectors = self._session.run([self._output], self._feeds(wanted))[0]
        for (progress, index), vector in zip(wanted, vectors, strict=True):
            progress.rows[index] = vector
            progress.missing -= 1
            if progress.missing == 0:
                self._release(progress)
                progress.run.complete(_result_of(progress))

    def _feeds(self, batch: list[_Text]) -> dict[str, np.ndarray[Any, Any]]:
        """int64 [rows, longest]: the ids, padded with 0, and a mask that is 0 there."""
        tokens = [_tokens_of(text) for text in batch]
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        feeds = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        return {name: feeds[name] for name in self._session.inputs if name in feeds}


def _find_output(session: Session, version: ModelVersion) -> str:
    pooled: list[str] = [name for name, shape in session.outputs.items() if len(shape) == 2]
    if len(pooled) != 1 or "input_ids" not in session.inputs:
        raise InvalidModelError(
            f"{version.ref} is no embedding model: it must take input_ids and have one output"
            f" [texts, dimensions]; it has {session.outputs}"
        )
    return pooled[0]


def _tokens_of(text: _Text) -> Any:
    progress, index = text
    return progress.run.request.texts_tokens[index]


def _result_of(progress: _Progress) -> EmbeddingResult:
    counted = sum(len(tokens) for tokens in progress.run.request.texts_tokens)
    return EmbeddingResult(vectors=progress.rows, prompt_tokens=counted)
