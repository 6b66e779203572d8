"""The only importer of onnxruntime-genai: opens its Engine and hands requests to it."""

import json

import numpy as np

from contract.errors import (
    DeviceUnavailableError,
    InvalidModelError,
    InvalidRequestError,
    MissingDependencyError,
)
from model_store.manifest import ModelVersion
from workers.engine.device import CPU, CUDA
from workers.engine.generation_plan import GenerationPlan
from workers.engine.requests import GenerationRequest

try:
    import onnxruntime_genai as og
    from onnxruntime_genai import Engine, EngineErrorCode, EngineEvent, FinishReason, Request
except ImportError as error:
    raise MissingDependencyError(
        "onnxruntime-genai is not installed; install the extra `cpu` or `gpu`"
    ) from error

__all__ = [
    "ERRORS",
    "FATAL",
    "Engine",
    "EngineErrorCode",
    "EngineEvent",
    "FinishReason",
    "Request",
    "begin",
    "load",
]

ERRORS = (RuntimeError, ValueError, TypeError, ArithmeticError)
"""What the binding raises: its own failures, and arguments that it cannot convert."""

FATAL = (EngineErrorCode.ENGINE_EXECUTION_FAILURE, EngineErrorCode.ENGINE_CONTRACT_FAILURE)
"""After one of these an Engine is beyond use."""

_NO_GRAMMAR = "Error creating grammar: "
_TOP_K_WITH_TOP_P = 50  # sorting the whole vocabulary for top_p would double the cost of a step


def load(version: ModelVersion, plan: GenerationPlan) -> Engine:
    """Load a model for this thread alone.

    Raises:
        DeviceUnavailableError: it would not run on the device of ``plan``.
        InvalidModelError: it cannot be loaded.
    """
    try:
        config = og.Config(str(version.path))
        config.overlay(json.dumps(plan.overlay()))
        if plan.device == CPU:
            config.clear_providers()
        else:
            config.append_provider(CUDA)
            config.set_provider_option(CUDA, "device_id", str(plan.device_index))
        model = og.Model(config)
        engine = Engine(model)
    except ERRORS as error:
        kind = InvalidModelError if plan.device == CPU else DeviceUnavailableError
        raise kind(f"{version.ref} cannot be loaded on {plan.device}: {error}") from error
    # Without a usable CUDA the library may fall back to the CPU and say nothing.
    if str(model.device_type).lower() != plan.device:
        raise DeviceUnavailableError(
            f"{version.ref} was to run on {plan.device} and was loaded on {model.device_type}"
        )
    return engine


def begin(engine: Engine, request: GenerationRequest) -> tuple[Request, int]:
    """Hand a request to the Engine; the request and its turn.

    Raises:
        InvalidRequestError: no grammar can be made of its JSON Schema.
        One of ``ERRORS``: the Engine refuses it otherwise.
    """
    session = og.RequestOptions()
    session.set_max_session_tokens(len(request.prompt_tokens) + request.max_tokens)
    native = engine.create_request(options=session)
    try:
        turn = og.TurnOptions(native)
        turn.set_max_generated_tokens(request.max_tokens)
        if request.json_schema is not None:
            turn.set_guidance("json_schema", request.json_schema)
        turn.set_do_sample(request.temperature > 0)
        if request.temperature > 0:
            turn.set_temperature(request.temperature)
            turn.set_top_p(request.top_p)
            narrowed = request.top_p < 1 and not request.top_k
            turn.set_top_k(_TOP_K_WITH_TOP_P if narrowed else request.top_k)
            if request.seed is not None:
                turn.set_seed(request.seed)
        return native, native.begin_turn(np.asarray(request.prompt_tokens, np.int32), turn)
    except ERRORS as error:
        native.close()
        if request.json_schema is not None and _NO_GRAMMAR in str(error):
            why = str(error).removeprefix(_NO_GRAMMAR)
            raise InvalidRequestError(f"json_schema: {why}") from error
        raise
