"""How fast Millrace is beside its peers, on the same weights and the same work.

python -m benchmarks [smoke|quick|full] [--workload NAME]… [--subject KIND:FORM]… [--rounds N]
                     [--seed N] [--save FOLDER] [--resume] [--json]

benchmarks/README.md says what is measured and how. Another seed gives other prompts.
"""

import argparse
import logging
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from benchmarks.llama_cpp import PEERS
from benchmarks.machine import describe_machine
from benchmarks.plan import CAPACITY_OF, ENTRIES, MODES, Entry
from benchmarks.plot import plot
from benchmarks.record import Record
from benchmarks.report import report
from benchmarks.rounds import Subjects, run_rounds, say
from benchmarks.subjects.catalog import KINDS
from benchmarks.subjects.subject import Bench
from contract.errors import MissingDependencyError
from contract.settings import Settings
from model_store.store import ModelStore
from workers.engine.device import usable_threads

_LOCAL = Path("benchmarks/results/local")
_SLOTS = 32  # a measured number would differ between the engine alone and behind the queue
_ROUNDS = {"smoke": 1, "quick": 3, "full": 3}


def main() -> None:
    """Measure, print and save."""
    asked = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no server may be left behind
    # The engines of this process would else speak between the lines of the report.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings.from_mapping(os.environ)
    record = Record(
        mode=asked.mode, rounds=asked.rounds, seed=asked.seed, machine=describe_machine()
    )
    saved = asked.save / f"{asked.mode}.json"
    if asked.resume and saved.exists():
        record = Record.from_json(saved.read_text())
    todo = [
        (
            entry,
            entry.count(asked.mode) or entry.count("full"),
            asked.subject or entry.subjects(asked.mode),
        )
        for entry in ENTRIES
        if (entry.name in asked.workload if asked.workload else entry.count(asked.mode))
        and entry.name not in record.workloads
    ]
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        bench = Bench(
            store=ModelStore(settings.models_dir),
            folder=Path(folder),
            peers=PEERS,
            slots=settings.slots or _SLOTS,
            threads=usable_threads(settings.threads),
            build=asked.mode == "full",
        )
        with Subjects(bench) as subjects:
            _run(todo, subjects, record, asked.save)
    _draw(record, asked.save)
    print(record.to_json() if asked.json else report(record), end="")


def _run(
    todo: Sequence[tuple[Entry, int, Sequence[str]]],
    subjects: Subjects,
    record: Record,
    folder: Path,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(record.seed, record.seed + record.rounds)
    for at, (entry, count, names) in enumerate(todo):
        say(f"{entry.name}: {count} x {entry.about}")
        if entry.name.startswith("poisson") and record.capacity is None:
            record.capacity = _capacity(record, subjects)
        record.rows += run_rounds(
            entry, count, names, subjects, seeds=seeds, capacity=record.capacity or 0.0
        )
        record.workloads[entry.name] = f"{count} x {entry.about}"
        record.subjects |= subjects.about
        record.left_out |= subjects.left_out
        record.idle |= subjects.idle
        record.quality |= subjects.quality
        # A run that is cut off keeps what it has.
        (folder / f"{record.mode}.json").write_text(record.to_json())
        (folder / f"{record.mode}.md").write_text(report(record))
        subjects.keep({name for _, _, later in todo[at + 1 :] for name in later})


def _capacity(record: Record, subjects: Subjects) -> float:
    """Requests per second that arrivals are a share of: measured before, or now in one round."""
    mixed = [row for row in record.rows if row.workload == "mixed"]
    found = [row.measures["requests/s"] for row in mixed if row.subject == CAPACITY_OF]
    if not found:
        entry = next(entry for entry in ENTRIES if entry.name == "mixed")
        say(f"  how much {CAPACITY_OF} does at once")
        seeds = [record.seed]
        rows = run_rounds(
            entry, entry.count("full"), [CAPACITY_OF], subjects, seeds=seeds, capacity=0.0
        )
        found = [row.measures["requests/s"] for row in rows]
    return statistics.median(found)


def _draw(record: Record, folder: Path) -> None:
    try:
        plot(record, folder / f"{record.mode}.png")
    except MissingDependencyError as error:
        say(error.detail)


def _parse() -> argparse.Namespace:
    names = [entry.name for entry in ENTRIES]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0] if __doc__ else None
    )
    add = parser.add_argument
    add("mode", nargs="?", choices=MODES, default="quick")
    add("--workload", action="append", choices=names, metavar="NAME", help=", ".join(names))
    add("--subject", action="append", metavar="KIND:FORM", help=f"KIND: {', '.join(KINDS)}")
    add("--rounds", type=int, metavar="N", help="how many times each")
    add("--seed", type=int, default=1, metavar="N", help="of the first round")
    add("--save", type=Path, default=_LOCAL, metavar="FOLDER")
    add("--resume", action="store_true", help="only the workloads that FOLDER does not have yet")
    add("--json", action="store_true", help="print the record instead of the report")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or _ROUNDS[asked.mode]
    return asked


if __name__ == "__main__":
    main()
