"""The benchmarks: what is asked, how it is asked, what is made of the answers."""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quantize

from benchmarks import workloads
from benchmarks.llama_cpp import write_float32
from benchmarks.load import run_workload
from benchmarks.measures import Answer, longest_stall, measure, percentile
from benchmarks.plan import ENTRIES, MODES
from benchmarks.subjects.subject import Reply
from benchmarks.workloads import Item, Workload
from model_store.importing.gguf_file import GgufFile

ITEM = Item(stored_input={"messages": [{"role": "user", "content": "hello"}]}, max_tokens=4)


def words(item: Item, message: int = -1) -> int:
    return len(item.stored_input["messages"][message]["content"].split())


def made(seed: int) -> dict[str, Workload]:
    """Every workload that a full run asks for."""
    return {entry.name: entry.make(seed, entry.count("full"), 4.0) for entry in ENTRIES}


class Clockwork:
    """Answers each item after ``answer_s``, a token at every ``token_s``."""

    def __init__(self, *, tokens: int = 4, token_s: float = 0.005) -> None:
        self.about = "a clock"
        self.asked: list[Item] = []
        self._tokens, self._token_s = tokens, token_s

    def ask(self, item: Item, *, stream: bool = False) -> Reply:
        self.asked.append(item)
        pieces = []
        for number in range(self._tokens):
            time.sleep(self._token_s)
            pieces.append((time.perf_counter(), number + 1))
        return Reply(tokens=self._tokens, text="tick", pieces=tuple(pieces) if stream else ())

    def processes(self) -> Sequence[int]:
        return ()


def answer(*times_s: float, due_s: float = 0.0) -> Answer:
    """An answer with a token at each of the times."""
    pieces = tuple((at_s, number + 1) for number, at_s in enumerate(times_s))
    return Answer(
        item=ITEM, due_s=due_s, ended_s=times_s[-1], tokens=len(pieces), text="", pieces=pieces
    )


def test_a_seed_gives_the_same_items_every_time() -> None:
    assert made(1) == made(1)


def test_no_prompt_returns_in_another_round_or_workload() -> None:
    seen: list[str] = []
    for workload in (*made(1).values(), *made(2).values()):
        asked = workload.before or workload.items
        seen += [str(item.stored_input) for item in asked]
    # Texts of one or two words to embed, or the shortest mixed prompts, may meet by chance.
    assert len(set(seen)) > 0.95 * len(seen)


def test_mixed_sizes_fill_their_ranges() -> None:
    items = [item for seed in range(20) for item in workloads.mixed(seed).items]
    prompts, answers = [words(item) for item in items], [item.max_tokens for item in items]
    assert len(workloads.mixed(1).items) == 64
    assert (min(answers), max(answers)) == (16, 128)
    assert max(prompts) <= 256
    assert statistics.mean(prompts) == pytest.approx(136 - 39 + 7, abs=6)
    assert statistics.mean(answers) == pytest.approx(72, abs=4)


def test_arrivals_come_at_their_rate() -> None:
    times_s = [item.at_s for item in workloads.poisson(3, 4000, rate_per_s=8.0).items]
    gaps_s = np.diff([0.0, *times_s])
    assert times_s == sorted(times_s)
    assert statistics.mean(gaps_s) == pytest.approx(1 / 8.0, rel=0.06)
    # Of an exponential distribution the deviation is the mean; of a steady beat it is nothing.
    assert statistics.stdev(gaps_s) == pytest.approx(1 / 8.0, rel=0.1)


def test_shared_prompts_share_their_system_prompt_and_nothing_else_does() -> None:
    def systems(workload: Workload) -> set[str]:
        return {item.stored_input["messages"][0]["content"] for item in workload.items}

    shared, unshared = workloads.shared(1), workloads.unshared(1)
    assert (len(systems(shared)), len(systems(unshared))) == (1, 48)
    assert {words(item, 0) for item in (*shared.items, *unshared.items)} == {203}


def test_repeated_requests_were_all_asked_before_and_may_come_from_the_cache() -> None:
    workload = workloads.repeated(1, 100)
    assert set(map(id, workload.items)) <= set(map(id, workload.before))
    assert all(item.cache for item in workload.items)


def test_a_long_prompt_joins_the_streams_after_they_began() -> None:
    workload = workloads.join(1)
    assert workload.newcomer is not None
    late = workload.items[workload.newcomer]
    assert (len(workload.items), late.at_s, words(late)) == (9, 1.0, 1461 + 7)
    assert {item.at_s for item in workload.items if item is not late} == {0.0}


def test_texts_to_embed_are_counted_one_by_one() -> None:
    workload = workloads.embed(1)
    assert sum(item.texts for item in workload.items) == 1000
    assert not any(item.max_tokens for item in workload.items)


def test_every_mode_has_a_plan_and_the_main_workload() -> None:
    for mode in MODES:
        assert next(e for e in ENTRIES if e.name == "mixed").count(mode) > 0
    for entry in ENTRIES:
        assert entry.count("full") > 0
        assert not entry.count("quick") or entry.subjects("quick")


def test_all_items_are_asked_at_once_unless_there_are_fewer_clients() -> None:
    workload = Workload(name="w", items=(ITEM,) * 8)
    started_s = time.perf_counter()
    answers = run_workload(Clockwork(), workload)
    assert time.perf_counter() - started_s < 8 * 0.02
    assert len({a.due_s for a in answers}) == 1
    alone = run_workload(Clockwork(), replace(workload, clients=1))
    assert all(b.due_s >= a.ended_s for a, b in itertools.pairwise(alone))


def test_an_item_is_asked_at_its_time_and_waits_from_then() -> None:
    items = (ITEM, replace(ITEM, at_s=0.2))
    early, late = run_workload(Clockwork(), Workload(name="w", items=items, streamed=True))
    assert late.due_s - early.due_s == pytest.approx(0.2)
    assert late.pieces[0][0] >= late.due_s
    assert late.first_token_s < 0.15


def test_what_comes_before_is_asked_and_not_measured() -> None:
    subject = Clockwork()
    answers = run_workload(subject, Workload(name="w", items=(ITEM,), before=(ITEM, ITEM)))
    assert (len(subject.asked), len(answers)) == (3, 1)


def test_rates_are_over_the_whole_round() -> None:
    answers = [answer(1.0, 2.0), answer(1.0, 2.0, 4.0)]
    found = measure(Workload(name="w", items=(ITEM, ITEM)), answers)
    assert found["tokens/s"] == pytest.approx(5 / 4)
    assert found["requests/s"] == pytest.approx(2 / 4)
    assert "texts/s" not in found
    assert "first token p50" not in found


def test_a_stream_is_measured_from_its_request_and_between_its_tokens() -> None:
    streamed = Workload(name="w", items=(ITEM,), streamed=True)
    found = measure(streamed, [answer(1.5, 1.6, 1.8, due_s=1.0)])
    assert found["first token p50"] == pytest.approx(500)
    assert found["inter-token p50"] == pytest.approx(100)
    assert found["inter-token p99"] == pytest.approx(200)


def test_a_piece_of_several_tokens_counts_once_for_each() -> None:
    piece = replace(answer(1.0, 1.3), pieces=((1.0, 1), (1.3, 4)))
    found = measure(Workload(name="w", items=(ITEM,), streamed=True), [piece])
    assert found["inter-token p99"] == pytest.approx(100)


def test_a_stall_counts_only_while_the_newcomer_is_read() -> None:
    newcomer = answer(6.0, due_s=5.0)
    before, during = answer(1.0, 3.0, 3.1), answer(4.9, 5.7, 5.8)
    assert longest_stall([before, during, newcomer], 2) == pytest.approx(0.8)
    assert longest_stall([before, newcomer], 1) == 0.0


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = list(range(1, 101))
    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (50, 99, 7)


def test_the_float32_copy_of_quantized_weights_holds_the_same_values(tmp_path: Path) -> None:
    source, copy = tmp_path / "quantized.gguf", tmp_path / "copy.gguf"
    values = np.random.default_rng(1).standard_normal((4, 64), dtype=np.float32)
    writer = GGUFWriter(source, "llama")
    writer.add_block_count(3)
    writer.add_token_list(["a", "b"])
    writer.add_tensor(
        "q.weight",
        quantize(values, GGMLQuantizationType.Q8_0),
        raw_dtype=GGMLQuantizationType.Q8_0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_float32(source, copy)
    before, after = GgufFile(source), GgufFile(copy)
    np.testing.assert_array_equal(before.tensor("q.weight"), after.tensor("q.weight"))
    assert after.require_list("tokenizer.ggml.tokens", str) == ["a", "b"]
    assert after.require("llama.block_count", int) == 3
    [stored] = GGUFReader(copy).tensors
    assert stored.tensor_type == GGMLQuantizationType.F32
