"""Runs that end before their answer does, and their neighbours in the batch."""

import pytest

from contract.errors import EngineError, RunCancelledError
from tests.support.generation import SLOTS, TIMEOUT_S, answer, ask
from tests.support.waiting import eventually
from workers.engine.generation import GenerationEngine


def test_a_cancelled_run_shows_nothing_more(engine: GenerationEngine) -> None:
    shown: list[int] = []

    def on_text(_: str, tokens: int) -> None:
        shown.append(tokens)
        if tokens >= 5:
            run.cancel()

    run = engine.submit(ask(engine, "cancel me", max_tokens=900), on_text)
    with pytest.raises(RunCancelledError):
        run.result(TIMEOUT_S)
    assert shown[-1] == 5


def test_a_cancelled_run_gives_its_room_to_the_next(engine: GenerationEngine) -> None:
    long = [engine.submit(ask(engine, f"long {n}", max_tokens=950)) for n in range(SLOTS)]
    eventually(lambda: engine.running == SLOTS)
    waiting = engine.submit(ask(engine, "waiting", max_tokens=5))
    for run in long:
        run.cancel()
    assert waiting.result(TIMEOUT_S).completion_tokens == 5
    for run in long:
        with pytest.raises(RunCancelledError):
            run.result(TIMEOUT_S)


def test_a_run_can_be_cancelled_while_it_waits(engine: GenerationEngine) -> None:
    long = [engine.submit(ask(engine, f"long {n}", max_tokens=950)) for n in range(SLOTS)]
    waiting = engine.submit(ask(engine, "waiting", max_tokens=950))
    waiting.cancel()
    with pytest.raises(RunCancelledError):
        waiting.result(TIMEOUT_S)
    assert not any(run.done for run in long)
    for run in long:
        run.cancel()


def test_what_on_text_raises_is_the_failure_of_its_own_run(engine: GenerationEngine) -> None:
    def on_text(_: str, tokens: int) -> None:
        raise LookupError("no such stream")

    bad = engine.submit(ask(engine, "bad", max_tokens=50), on_text)
    good = engine.submit(ask(engine, "good", max_tokens=50))
    with pytest.raises(EngineError, match="no such stream"):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).completion_tokens == 50


def test_a_stopped_run_leaves_the_batch_at_once(engine: GenerationEngine) -> None:
    whole = answer(engine, ask(engine, "leave", max_tokens=10))
    neighbour = engine.submit(ask(engine, "neighbour", max_tokens=900))
    runs = [
        engine.submit(ask(engine, "leave", max_tokens=900, stop=[whole.text[:3]]))
        for _ in range(3 * SLOTS)
    ]
    assert {run.result(TIMEOUT_S).text for run in runs} == {""}
    assert not neighbour.done
    neighbour.cancel()
