"""Does this engine answer as the model did when it was imported?"""

from typing import Any

import numpy as np

from contract.errors import MillraceError, UnfitWorkerError
from model_store.manifest import GoldenEmbedding, GoldenPrompt, ModelVersion
from workers.engine.opening import Engine
from workers.engine.run import Run

Golden = GoldenPrompt | GoldenEmbedding

_MIN_COSINE = 0.999


def check_fitness(engine: Engine, version: ModelVersion, *, timeout_s: float = 120.0) -> None:
    """Ask the golden prompts of ``version`` and compare.

    All at once, to be quick; one that is answered otherwise is asked again, alone, since a
    quantized form may answer a little differently in a batch.

    Raises:
        UnfitWorkerError: an answer is not the recorded one, or did not come; it names the
            prompt by its index, since a prompt is never logged.
    """
    asked = []
    for index, golden in enumerate(version.manifest.golden):
        where = f"golden prompt {index} of {version.ref}"
        request = _request_for(engine, golden, where)
        asked.append((where, golden, request, engine.submit(request)))
    for where, golden, request, run in asked:
        if _agrees(golden, _await(run, where, timeout_s)):
            continue
        if not _agrees(golden, _await(engine.submit(request), where, timeout_s)):
            raise UnfitWorkerError(f"{where} was not answered as when the model was imported")


def _request_for(engine: Engine, golden: Golden, where: str) -> Any:
    if isinstance(golden, GoldenEmbedding):
        return engine.prompt(golden.input, {})
    request = engine.prompt(golden.input, {"max_tokens": golden.max_tokens, "temperature": 0.0})
    if tuple(request.prompt_tokens) != golden.prompt_tokens:
        raise UnfitWorkerError(f"{where} is tokenized otherwise than when the model was imported")
    return request


def _await(run: Run[Any, Any], where: str, timeout_s: float) -> Any:
    try:
        return run.result(timeout_s)
    except TimeoutError as error:
        raise UnfitWorkerError(f"{where} was not answered in {timeout_s:g} s") from error
    except MillraceError as error:
        raise UnfitWorkerError(f"{where} failed: {error.detail}") from error


def _agrees(golden: Golden, result: Any) -> bool:
    if isinstance(golden, GoldenPrompt):
        return bool((result.text, result.finish_reason) == (golden.text, golden.finish_reason))
    found, wanted = result.vectors[0], np.asarray(golden.embedding, np.float32)
    if found.shape != wanted.shape:
        return False
    norms = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    return norms > 0 and float(found @ wanted) / norms >= _MIN_COSINE
