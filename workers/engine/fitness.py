"""Does this engine answer as the model did when it was imported?"""

import numpy as np

from contract.errors import MillraceError, UnfitWorkerError
from model_store.manifest import GoldenEmbedding, GoldenPrompt, ModelVersion
from workers.engine.opening import Engine
from workers.engine.requests import EmbeddingResult, GenerationResult

_MIN_COSINE = 0.999


def check_fitness(engine: Engine, version: ModelVersion, *, timeout_s: float = 120.0) -> None:
    """Ask the golden prompts of ``version`` and compare.

    One after another: a quantized form may answer a little differently in a batch.

    Raises:
        UnfitWorkerError: an answer is not the recorded one, or did not come; it names the
            prompt by its index, since a prompt is never logged.
    """
    for index, golden in enumerate(version.manifest.golden):
        where = f"golden prompt {index} of {version.ref}"
        try:
            if isinstance(golden, GoldenPrompt):
                _check_answer(engine, golden, where, timeout_s)
            else:
                _check_embedding(engine, golden, where, timeout_s)
        except TimeoutError as error:
            raise UnfitWorkerError(f"{where} was not answered in {timeout_s:g} s") from error
        except UnfitWorkerError:
            raise
        except MillraceError as error:
            raise UnfitWorkerError(f"{where} failed: {error.detail}") from error


def _check_answer(engine: Engine, golden: GoldenPrompt, where: str, timeout_s: float) -> None:
    parameters = {"max_tokens": golden.max_tokens, "temperature": 0.0}
    request = engine.prompt(golden.input, parameters)
    if tuple(request.prompt_tokens) != golden.prompt_tokens:
        raise UnfitWorkerError(f"{where} is tokenized otherwise than when the model was imported")
    result: GenerationResult = engine.submit(request).result(timeout_s)
    if (result.text, result.finish_reason) != (golden.text, golden.finish_reason):
        raise UnfitWorkerError(f"{where} was not answered as when the model was imported")


def _check_embedding(engine: Engine, golden: GoldenEmbedding, where: str, timeout_s: float) -> None:
    result: EmbeddingResult = engine.submit(engine.prompt(golden.input, {})).result(timeout_s)
    found, wanted = result.vectors[0], np.asarray(golden.embedding, np.float32)
    norms = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    if found.shape != wanted.shape or norms == 0 or float(found @ wanted) / norms < _MIN_COSINE:
        raise UnfitWorkerError(f"{where} was not embedded as when the model was imported")
