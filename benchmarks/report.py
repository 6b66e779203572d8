"""A record as Markdown that also reads well in a terminal."""

from collections.abc import Sequence

from benchmarks.measures import MEASURES
from benchmarks.plan import COMPARISONS, ENTRIES
from benchmarks.record import Record
from benchmarks.summary import Spread, Summary, summarise


def report(record: Record) -> str:
    """The whole report."""
    summary = summarise(record.rows)
    parts = [
        f"# Benchmarks ({record.mode})",
        _facts(record),
        "## What matters",
        "Ratios of medians; the last column says what was hoped for.",
        _comparisons(summary),
    ]
    for name, about in record.workloads.items():
        if name in summary:
            parts += [f"## {name}", f"{about[0].upper()}{about[1:]}.", _workload(record, name)]
    parts += ["## Quality", _QUALITY, _quality(record)]
    parts += ["## Subjects", _subjects(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


_QUALITY = (
    "KL (mean, nats) and top-1 agreement with the exact form over a page of text, as measured at"
    " import; and how many of the exact form's golden answers were given word for word. *Same"
    " answers* counts the mixed requests answered as by one job at a time at fp32 (by the bare"
    " engine where that did not run)."
)


def _facts(record: Record) -> str:
    lines = [f"- {name}: {text}" for name, text in record.machine.items()]
    lines.append(f"- rounds: {record.rounds}, taking turns; seeds from {record.seed}")
    if record.capacity:
        lines.append(f"- arrivals are a share of {record.capacity:.2f} requests/s")
    lines += [f"- left out: {name}: {reason}" for name, reason in record.left_out.items()]
    return "\n".join(lines)


def _comparisons(summary: Summary) -> str:
    rows = []
    for each in COMPARISONS:
        figure = each.figure(summary)
        if figure is not None:
            verdict = "yes" if each.met(figure) else "no"
            rows.append([each.title, each.shown(figure), verdict, each.wish])
    if not rows:
        return "Nothing that is compared was measured."
    return table(["figure", "measured", "reached", "hoped for"], rows)


def _workload(record: Record, name: str) -> str:
    subjects = summarise(record.rows)[name]
    shows = next((entry.shows for entry in ENTRIES if entry.name == name), ("requests/s",))
    main = shows[0]
    first = next(iter(subjects.values())).get(main)
    rows = []
    for subject, measures in subjects.items():
        ratio = measures[main].median / first.median if first and main in measures else None
        cells = [_shown(measures.get(each)) for each in shows]
        same = _same_answers(record, name, subject)
        rows.append([subject, *cells, f"{ratio:.2f}x" if ratio is not None else "", same])
    heads = [f"{each} {_unit(each)}".strip() for each in shows]
    return table(["subject", *heads, f"{main} to the first", "same answers"], rows)


def _same_answers(record: Record, workload: str, subject: str) -> str:
    rows = [r for r in record.rows if (r.workload, r.subject) == (workload, subject)]
    if any(row.same_answers is None for row in rows):
        return ""
    return f"{sum(r.same_answers or 0 for r in rows)} of {sum(row.answers for row in rows)}"


def _quality(record: Record) -> str:
    rows = [
        [
            name,
            "" if each.kl_mean is None else f"{each.kl_mean:.4f}",
            "" if each.top1_agreement is None else f"{100 * each.top1_agreement:.1f} %",
            f"{each.equal} of {each.asked}",
            _same_answers(record, "mixed", name),
        ]
        for name, each in record.quality.items()
    ]
    return table(["subject", "KL", "top-1", "golden answers", "same answers"], rows)


def _subjects(record: Record) -> str:
    rows = [
        [name, about, f"{100 * record.idle[name]:.1f} %" if name in record.idle else "in process"]
        for name, about in record.subjects.items()
    ]
    return table(["subject", "what it is", "of a core when idle"], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = f"| {' | '.join('-' * width for width in widths)} |"
    return "\n".join([line(heads), rule, *(line(row) for row in rows)])


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return ""
    digits = 0 if spread.median >= 1000 else 1
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _unit(measure: str) -> str:
    return "" if measure.endswith("/s") else MEASURES[measure].unit
