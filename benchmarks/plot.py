"""The record as a picture: a panel for each workload, a bar for each subject."""

from pathlib import Path

from benchmarks.measures import MEASURES
from benchmarks.plan import ENTRIES
from benchmarks.record import Record
from benchmarks.summary import summarise
from contract.errors import MissingDependencyError

_COLUMNS = 2
_COLOURS = {
    "millrace": "#1f6f8b",
    "engine": "#7fb3c4",
    "one-by-one": "#b9c7cc",
    "llama.cpp": "#d98e4a",
    "celery": "#8a8a8a",
    "transformers": "#c9b458",
}


def plot(record: Record, path: Path) -> None:
    """Write a PNG: medians as bars, the lowest and the highest round as a line across their ends.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "no plot: matplotlib is missing; `pip install 'millrace[bench]'` brings it"
        ) from error
    summary = summarise(record.rows)
    shown = [entry for entry in ENTRIES if entry.name in summary]
    if not shown:
        return
    rows = -(-len(shown) // _COLUMNS)
    heights = [
        1.1 + 0.3 * max(len(summary[e.name]) for e in shown[at : at + _COLUMNS])
        for at in range(0, len(shown), _COLUMNS)
    ]
    figure = Figure(figsize=(12, 0.6 + sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, height_ratios=heights).flatten()
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel, entry in zip(panels, shown, strict=False):
        name = entry.shows[0]
        spreads = {s: m[name] for s, m in summary[entry.name].items() if name in m}
        medians = [each.median for each in spreads.values()]
        below = [each.median - each.low for each in spreads.values()]
        above = [each.high - each.median for each in spreads.values()]
        colours = [_COLOURS.get(subject.partition(":")[0], "#555555") for subject in spreads]
        bars = panel.barh(list(spreads), medians, color=colours, xerr=(below, above), capsize=3)
        panel.bar_label(bars, fmt="%.4g", padding=6, fontsize=8)
        panel.invert_yaxis()
        panel.margins(x=0.15)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        better = "more is better" if MEASURES[name].higher_is_better else "less is better"
        unit = "" if name.endswith("/s") else f", {MEASURES[name].unit}"
        panel.set_title(f"{entry.name}: {name}{unit} ({better})", fontsize=9, loc="left")
    machine = record.machine
    figure.suptitle(
        f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores;"
        f" medians of {record.rounds} rounds, with the lowest and the highest",
        fontsize=9,
    )
    figure.savefig(path, dpi=120)
