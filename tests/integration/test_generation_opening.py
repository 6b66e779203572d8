"""Which generation engines may open, and which are fit to serve."""

import dataclasses
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contract.errors import DeviceUnavailableError, InvalidModelError, UnfitWorkerError
from model_store.manifest import GoldenPrompt, ModelVersion
from tests.support.generation import (
    CONTEXT,
    SLOTS,
    answer,
    ask,
    open_changed,
    open_tiny,
    small_cache,
    without_usage,
)
from workers.engine import GenerationRequest, check_fitness, open_engine
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


def test_an_engine_opens_warm_and_tells_in_one_line_what_its_steps_took(
    tiny: ModelVersion,
) -> None:
    with capture_logs() as logs:
        engine = open_engine(tiny, slots=0, threads=1, device="cpu")
    engine.close()
    assert [entry["event"] for entry in logs] == ["engine.measured", "engine.loaded"]
    measured, loaded = logs
    for name in ("one_row_ms", "many_rows_ms", "mixed_ms", "prompt_tokens_per_s"):
        assert measured[name] > 0
    assert measured["many_rows"] == 32
    assert 4 <= engine.slots == measured["slots"] == loaded["slots"] <= 64
    assert measured["seconds"] < 1.5


def test_slots_that_are_asked_for_are_what_there_is(tiny: ModelVersion) -> None:
    engine = open_tiny(tiny, slots=3)
    engine.close()
    assert engine.slots == 3


def test_steps_that_would_take_too_long_are_cut_by_loading_once_more(
    tiny: ModelVersion, engine: GenerationEngine
) -> None:
    request = ask(engine, "many words " * 60, max_tokens=20)
    expected = without_usage(answer(engine, request))
    with capture_logs() as logs:
        cut = open_changed(tiny, tokens_per_step=10**7)
    assert logs[0]["loads_again"]
    assert 2 * SLOTS <= logs[0]["tokens_per_step"] < 10**7
    assert without_usage(answer(cut, request)) == expected
    cut.close()


def test_a_cache_for_hardly_anything_is_enough_to_open(tiny: ModelVersion) -> None:
    engine = open_changed(tiny, slots=2, cache=small_cache(2))
    request = GenerationRequest(prompt_tokens=[5, 6, 7], max_tokens=20)
    assert answer(engine, request).completion_tokens == 20
    engine.close()


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
        tokens_per_step=256,
        vocabulary=640,
    )
    with pytest.raises(DeviceUnavailableError):
        GenerationEngine(tiny, plan)


def test_a_folder_that_is_no_paged_model_is_refused(tiny: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text('{"model": {}}')
    with pytest.raises(InvalidModelError, match="paged"):
        open_engine(dataclasses.replace(tiny, path=tmp_path), slots=1, threads=1, device="cpu")
