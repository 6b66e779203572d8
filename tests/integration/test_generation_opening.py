"""Which generation engines may open, and which are fit to serve."""

import dataclasses
from pathlib import Path

import pytest

from contract.errors import DeviceUnavailableError, InvalidModelError, UnfitWorkerError
from model_store.manifest import GoldenPrompt, ModelVersion
from tests.support.generation import CONTEXT
from workers.engine import check_fitness, open_engine
from workers.engine.cache_plan import CachePlan
from workers.engine.generation import GenerationEngine
from workers.engine.generation_plan import GenerationPlan


def test_the_golden_prompts_are_answered_as_recorded(
    engine: GenerationEngine, tiny: ModelVersion
) -> None:
    assert tiny.manifest.golden
    check_fitness(engine, tiny)


def test_an_engine_that_answers_otherwise_is_unfit_and_no_prompt_is_told(
    engine: GenerationEngine, tiny: ModelVersion
) -> None:
    golden = tiny.manifest.golden
    last = golden[-1]
    assert isinstance(last, GoldenPrompt)
    changed = dataclasses.replace(last, text="something else")
    manifest = dataclasses.replace(tiny.manifest, golden=(*golden[:-1], changed))
    with pytest.raises(UnfitWorkerError) as caught:
        check_fitness(engine, dataclasses.replace(tiny, manifest=manifest))
    assert f"golden prompt {len(golden) - 1}" in caught.value.detail
    assert "something else" not in caught.value.detail


def test_a_model_made_for_the_cpu_is_refused_for_cuda(tiny: ModelVersion) -> None:
    with pytest.raises(DeviceUnavailableError, match="made for cpu"):
        open_engine(tiny, slots=1, threads=1, device="cuda")


def test_cuda_that_is_not_there_is_refused_and_not_replaced_by_the_cpu(
    tiny: ModelVersion,
) -> None:
    plan = GenerationPlan(
        device="cuda",
        device_index=99,
        slots=1,
        threads=1,
        cache=CachePlan(num_blocks=64, block_size=16, limit_tokens=CONTEXT),
    )
    with pytest.raises(DeviceUnavailableError):
        GenerationEngine(tiny, plan)


def test_a_folder_that_is_no_paged_model_is_refused(tiny: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text('{"model": {}}')
    with pytest.raises(InvalidModelError, match="paged"):
        open_engine(dataclasses.replace(tiny, path=tmp_path), slots=1, threads=1, device="cpu")
