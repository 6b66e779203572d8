"""What the generation engine answers, alone and in any batch."""

import json
import threading
from typing import Any

import pytest

from contract.errors import InvalidRequestError
from model_store.manifest import ModelVersion
from tests.support.generation import SLOTS, TIMEOUT_S, answer, ask, open_tiny, without_usage
from workers.engine import GenerationRequest
from workers.engine.generation import GenerationEngine

PROMPTS = [
    f"Tell me about the {word}." for word in ["fox", "dog", "river", "moon", "stone", "bird"]
]


def test_greedy_answers_are_the_same_alone_and_in_any_batch(engine: GenerationEngine) -> None:
    requests = [ask(engine, text, max_tokens=20 + 7 * n) for n, text in enumerate(PROMPTS)]
    alone = [without_usage(answer(engine, request)) for request in requests]
    assert len({result.text for result in alone}) == len(PROMPTS)
    for order in (requests, requests[::-1]):
        runs = [engine.submit(request) for request in order]
        together = [without_usage(run.result(TIMEOUT_S)) for run in runs]
        assert together == (alone if order is requests else alone[::-1])


def test_the_first_batch_of_an_engine_on_used_memory_answers_as_any_other(
    tiny: ModelVersion,
) -> None:
    """A cache line that nobody has written may hold anything, a NaN too."""
    answers = []
    for _ in range(3):
        engine = open_tiny(tiny, slots=20)
        texts = [f"story {n} " + "river " * (3 * n) for n in range(20)]
        runs = [engine.submit(ask(engine, text, max_tokens=40)) for text in texts]
        answers.append([run.result(TIMEOUT_S).text for run in runs])
        engine.close()
    assert answers[1:] == answers[:1] * 2


def test_more_requests_than_slots_all_finish(engine: GenerationEngine) -> None:
    runs = [engine.submit(ask(engine, f"Number {n}", max_tokens=12)) for n in range(5 * SLOTS)]
    results = [run.result(TIMEOUT_S) for run in runs]
    assert [result.completion_tokens for result in results] == [12] * (5 * SLOTS)


def test_the_pieces_shown_are_the_text(engine: GenerationEngine) -> None:
    pieces: list[tuple[str, int]] = []
    request = ask(engine, "A wild one", max_tokens=200, temperature=100.0, seed=3)
    result = engine.submit(request, lambda text, tokens: pieces.append((text, tokens))).result(
        TIMEOUT_S
    )
    assert "".join(text for text, _ in pieces) == result.text
    assert all(text for text, _ in pieces)
    counts = [tokens for _, tokens in pieces]
    assert counts == sorted(counts)
    assert counts[-1] == result.completion_tokens


def test_a_late_joiner_answers_as_if_alone_and_need_not_wait(engine: GenerationEngine) -> None:
    short, long = ask(engine, "short", max_tokens=8), ask(engine, "long", max_tokens=600)
    alone = [without_usage(answer(engine, request)) for request in (short, long)]
    under_way = threading.Event()
    first = engine.submit(long, lambda _, tokens: under_way.set() if tokens > 5 else None)
    assert under_way.wait(TIMEOUT_S)
    second = engine.submit(short)
    assert without_usage(second.result(TIMEOUT_S)) == alone[0]
    assert not first.done
    assert without_usage(first.result(TIMEOUT_S)) == alone[1]


def test_a_seed_repeats_its_answer_alone_and_in_a_batch(engine: GenerationEngine) -> None:
    def dream(seed: int) -> GenerationRequest:
        return ask(engine, "Dream", max_tokens=40, temperature=1.5, top_p=0.9, seed=seed)

    alone = answer(engine, dream(7))
    runs = [engine.submit(dream(seed)) for seed in (7, 8, 9, 7)]
    texts = [run.result(TIMEOUT_S).text for run in runs]
    assert texts[0] == texts[3] == alone.text
    assert len(set(texts)) == 3


def test_the_first_token_is_the_answer_of_the_whole_vocabulary_only_without_top_k(
    engine: GenerationEngine,
) -> None:
    def first_words(**parameters: object) -> set[str]:
        requests = [
            ask(engine, "Draw", max_tokens=1, temperature=100.0, seed=seed, **parameters)
            for seed in range(300)
        ]
        return {run.result(TIMEOUT_S).text for run in [engine.submit(each) for each in requests]}

    assert len(first_words(top_k=2)) <= 2
    # top_p over the whole vocabulary is narrowed to the 50 likeliest tokens.
    assert 10 < len(first_words(top_p=0.999)) <= 50
    assert len(first_words()) > 100


def test_an_answer_that_the_model_ends_has_the_reason_stop(engine: GenerationEngine) -> None:
    requests = [
        ask(engine, "End", max_tokens=900, temperature=100.0, seed=seed)
        for seed in range(2 * SLOTS)
    ]
    results = [run.result(TIMEOUT_S) for run in [engine.submit(each) for each in requests]]
    ended = [result for result in results if result.completion_tokens < 900]
    assert ended
    assert {result.finish_reason for result in ended} == {"stop"}


def test_a_stop_string_across_tokens_cuts_exactly_there(engine: GenerationEngine) -> None:
    pieces: list[str] = []
    whole = engine.submit(
        ask(engine, "stop here", max_tokens=60), lambda text, _: pieces.append(text)
    ).result(TIMEOUT_S)
    middle = len(pieces) // 2
    stop = pieces[middle][-1:] + pieces[middle + 1] + pieces[middle + 2][:1]
    shown: list[str] = []
    result = engine.submit(
        ask(engine, "stop here", max_tokens=60, stop=["never", stop]),
        lambda text, _: shown.append(text),
    ).result(TIMEOUT_S)
    assert result.text == "".join(shown) == whole.text[: whole.text.index(stop)]
    assert result.finish_reason == "stop"
    assert result.completion_tokens < whole.completion_tokens
    assert result.prompt_tokens == whole.prompt_tokens


def test_an_answer_holds_the_schema_that_it_is_given(engine: GenerationEngine) -> None:
    schema = {
        "type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
        "additionalProperties": False,
    }  # fmt: skip
    free = ask(engine, "Tell me more", max_tokens=32)
    beside = engine.submit(free)
    guided = answer(engine, ask(engine, "Say it in JSON", max_tokens=64, json_schema=schema))

    assert json.loads(guided.text)["a"] in ("x", "y")
    assert beside.result(TIMEOUT_S).text == answer(engine, free).text


@pytest.mark.parametrize(
    "schema", [{"type": "nothing"}, {"$ref": "http://elsewhere/x"}, {"type": "array", "items": 5}]
)
def test_a_schema_of_which_no_grammar_can_be_made_is_the_senders_fault(
    engine: GenerationEngine, schema: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match="json_schema"):
        answer(engine, ask(engine, "Say it in JSON", json_schema=schema))
    assert answer(engine, ask(engine, "Hello", max_tokens=4)).completion_tokens == 4


def test_token_ids_are_taken_as_they_are(engine: GenerationEngine) -> None:
    tokens = [5, 6, 7, 8]
    asked = engine.prompt({"tokens": tokens}, {"max_tokens": 4})
    assert list(asked.prompt_tokens) == tokens
    assert answer(engine, asked).prompt_tokens == 4
    with pytest.raises(InvalidRequestError, match="99999999"):
        engine.prompt({"tokens": [5, 99999999]}, {})
