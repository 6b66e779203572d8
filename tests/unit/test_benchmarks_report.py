"""The benchmarks' report: medians, ratios, and what is said about what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.plan import COMPARISONS, ENTRIES
from benchmarks.quality import Quality, count_same
from benchmarks.record import Record
from benchmarks.report import report, table
from benchmarks.rounds import Subjects, run_rounds
from benchmarks.subjects.catalog import open_subject
from benchmarks.subjects.subject import Bench
from benchmarks.summary import Comparison, Row, Side, Spread, summarise
from model_store.store import ModelStore

OURS, THEIRS, OTHERS = "millrace:fp32", "llama.cpp:bf16", "llama.cpp:f16"


def rows(subject: str, *rates: float, measure: str = "tokens/s") -> list[Row]:
    """A round of the mixed requests for each rate."""
    return [
        Row(
            workload="mixed",
            subject=subject,
            round=number + 1,
            seed=number + 1,
            measures={measure: rate},
            answers=64,
            same_answers=60,
        )
        for number, rate in enumerate(rates)
    ]


def side(*subjects: str, measure: str = "tokens/s") -> Side:
    return Side(workload="mixed", measure=measure, subjects=subjects)


@pytest.fixture
def record() -> Record:
    return Record(
        mode="full",
        rounds=3,
        seed=1,
        machine={"processor": "a fast one", "cores": "2"},
        workloads={"mixed": "64 x prompts and answers"},
        subjects={OURS: "everything", THEIRS: "a server"},
        left_out={"celery:fp32": "no Celery here"},
        idle={THEIRS: 0.001},
        quality={OURS: Quality(asked=4, equal=3, wrong=("Lyon",), kl_mean=0.0, top1_agreement=1.0)},
        rows=[*rows(OURS, 210.0, 200.0, 290.0), *rows(THEIRS, 100.0, 70.0, 110.0)],
    )


def test_a_spread_is_the_median_with_the_lowest_and_the_highest_round() -> None:
    found = summarise(rows(OURS, 210.0, 200.0, 290.0))
    assert found["mixed"][OURS]["tokens/s"] == Spread(median=210.0, low=200.0, high=290.0)


def test_a_ratio_is_of_medians() -> None:
    summary = summarise([*rows(OURS, 210.0, 200.0, 290.0), *rows(THEIRS, 100.0, 70.0, 110.0)])
    ratio = Comparison(title="r", of=side(OURS), to=side(THEIRS), wanted=2.0)
    assert ratio.figure(summary) == pytest.approx(2.1)
    assert ratio.met(2.1)
    assert not ratio.met(1.9)


def test_a_comparison_with_several_peers_is_with_their_best() -> None:
    summary = summarise([*rows(OURS, 200.0), *rows(THEIRS, 100.0), *rows(OTHERS, 125.0)])
    ratio = Comparison(title="r", of=side(OURS), to=side(THEIRS, OTHERS), wanted=1.0)
    assert ratio.figure(summary) == pytest.approx(1.6)


def test_the_best_of_waiting_times_is_the_shortest_and_less_is_wanted() -> None:
    waits = "first token p99"
    measured = [rows(each, ms, measure=waits) for each, ms in ((THEIRS, 80.0), (OTHERS, 50.0))]
    summary = summarise([*rows(OURS, 60.0, measure=waits), *measured[0], *measured[1]])
    ratio = Comparison(
        title="r",
        of=side(OURS, measure=waits),
        to=side(THEIRS, OTHERS, measure=waits),
        wanted=1.5,
    )
    assert ratio.figure(summary) == pytest.approx(1.2)
    assert ratio.met(1.2)
    assert not ratio.met(1.6)
    added = replace(ratio, difference=True, wanted=5.0)
    assert added.figure(summary) == pytest.approx(10.0)
    assert not added.met(10.0)
    assert added.wish == "at most 5.0 ms"


def test_a_comparison_with_a_peer_that_did_not_run_is_left_out() -> None:
    summary = summarise([*rows(OURS, 200.0), *rows(THEIRS, 100.0)])
    everyone = Comparison(title="r", of=side(OURS), to=side(THEIRS, OTHERS), wanted=1.0)
    assert everyone.figure(summary) is None


def test_every_comparison_is_of_something_that_a_full_run_measures() -> None:
    entries = {entry.name: entry for entry in ENTRIES}
    for comparison in COMPARISONS:
        for each in (comparison.of, comparison.to):
            if each is not None:
                assert set(each.subjects) <= set(entries[each.workload].full)


def test_the_report_shows_figures_ratios_quality_and_what_is_missing(record: Record) -> None:
    text = report(record)
    assert "210.0 (200.0-290.0)" in text
    assert "0.48x" in text  # the second subject's median to the first's
    assert "| Millrace exact to llama.cpp at bf16 | 2.10x    | yes     | at least 1.20x |" in text
    assert "celery:fp32: no Celery here" in text
    assert "3 of 4" in text
    assert "180 of 192" in text
    assert "0.1 %" in text


def test_a_record_comes_back_from_its_file_as_it_was(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


def test_a_table_is_aligned() -> None:
    lines = table(["a", "long head"], [["1", "2"], ["three", "4"]]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_equal_answers_are_equal_word_for_word() -> None:
    assert count_same(["a", "b", "c"], ["a", "B", "c"]) == 2


def test_a_subject_that_cannot_be_had_is_left_out_with_its_reason(tmp_path: Path) -> None:
    bench = Bench(
        store=ModelStore(tmp_path / "models"),
        folder=tmp_path,
        peers=tmp_path / "peers",
        slots=2,
        threads=1,
        build=False,
    )
    entry = next(entry for entry in ENTRIES if entry.name == "mixed")
    with Subjects(bench) as subjects:
        found = run_rounds(entry, 2, ["celery:int4"], subjects, seeds=[1], capacity=0.0)
        assert found == []
        assert "int4" in subjects.left_out["celery:int4"]
    with pytest.raises(ValueError, match="KIND:FORM"):
        open_subject(bench, "llama.cpp")
