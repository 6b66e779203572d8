"""What is measured: each workload, how much of it, on which subjects; and what is compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import workloads
from benchmarks.summary import Comparison, Side
from benchmarks.workloads import Workload

MODES = ("smoke", "quick", "full")
FAST = "int8"
"""The form of Millrace that is compared with the quantized forms of others."""

OURS, ENGINE, ONE = "millrace:fp32", "engine:fp32", "one-by-one:fp32"
OURS_FAST, ENGINE_FAST = f"millrace:{FAST}", f"engine:{FAST}"
F16, BF16, Q8, Q4 = "llama.cpp:f16", "llama.cpp:bf16", "llama.cpp:q8_0", "llama.cpp:q4_0"
CELERY = "celery:fp32"
EMBED, EMBED_ENGINE, EMBED_ONE = "millrace:minilm", "engine:minilm", "one-by-one:minilm"

CAPACITY_OF = ENGINE
"""Arrivals come at a share of what this subject does of the mixed requests."""

Make = Callable[[int, int, float], Workload]
"""From a seed, a count and the capacity (requests/s) to a workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One workload of a plan. ``shows`` are its measures; ratios are of the first."""

    name: str
    about: str
    make: Make
    shows: tuple[str, ...]
    counts: Mapping[str, int]
    quick: tuple[str, ...] = ()
    full: tuple[str, ...]

    def count(self, mode: str) -> int:
        """How many items in a round; 0 when the mode leaves it out."""
        return self.counts.get(mode, 0)

    def subjects(self, mode: str) -> tuple[str, ...]:
        """On whom it runs."""
        return self.quick if mode == "quick" else self.full


def _arrivals(share: float) -> Make:
    return lambda seed, count, capacity: workloads.poisson(seed, count, rate_per_s=share * capacity)


def _plain(make: Callable[[int, int], Workload]) -> Make:
    return lambda seed, count, _: make(seed, count)


_STREAM = ("first token p50", "first token p99", "inter-token p50", "inter-token p99")
ENTRIES = (
    Entry(
        name="mixed",
        about="prompts of 16-256 and answers of 16-128 tokens, all at once",
        make=_plain(workloads.mixed),
        shows=("tokens/s",),
        counts={"smoke": 4, "quick": 32, "full": 64},
        quick=(OURS, ENGINE, OURS_FAST, BF16, Q8),
        full=(OURS, ENGINE, OURS_FAST, ENGINE_FAST, ONE, F16, BF16, Q8, Q4, CELERY),
    ),
    Entry(
        name="alone",
        about="short requests one after the other: what an idle service adds",
        make=_plain(workloads.alone),
        shows=("first token p50", "first token p99", "latency p50"),
        counts={"smoke": 2, "quick": 10, "full": 40},
        quick=(OURS, ENGINE, BF16),
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="poisson-50",
        about=f"the mixed requests at random times, at 50 % of what {CAPACITY_OF} does at once",
        make=_arrivals(0.5),
        shows=_STREAM,
        counts={"smoke": 4, "full": 64},
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="poisson-80",
        about=f"the same at 80 % of what {CAPACITY_OF} does at once",
        make=_arrivals(0.8),
        shows=_STREAM,
        counts={"smoke": 4, "full": 64},
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="shared",
        about="short questions behind one system prompt of 208 tokens, answers of 8 tokens",
        make=_plain(workloads.shared),
        shows=("requests/s",),
        counts={"smoke": 4, "quick": 24, "full": 48},
        quick=(OURS,),
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="unshared",
        about="the same with a system prompt of its own for each: no cache can help",
        make=_plain(workloads.unshared),
        shows=("requests/s",),
        counts={"smoke": 4, "quick": 24, "full": 48},
        quick=(OURS,),
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="repeated",
        about="requests that were answered before, one client",
        make=lambda seed, count, _: workloads.repeated(seed, count, clients=1),
        shows=("latency p50", "latency p99"),
        counts={"smoke": 20, "quick": 200, "full": 500},
        quick=(OURS,),
        full=(OURS,),
    ),
    Entry(
        name="repeated-16",
        about="requests that were answered before, 16 clients",
        make=lambda seed, count, _: workloads.repeated(seed, count, clients=16),
        shows=("requests/s", "latency p99"),
        counts={"smoke": 20, "quick": 1000, "full": 4000},
        quick=(OURS,),
        full=(OURS,),
    ),
    Entry(
        name="join",
        about="a prompt of 1,500 tokens joins 8 running streams",
        make=_plain(workloads.join),
        shows=("longest stall", "inter-token p50"),
        counts={"smoke": 2, "full": 8},
        full=(OURS, ENGINE, BF16),
    ),
    Entry(
        name="classify",
        about="short texts, answers of at most 8 tokens, 64 clients",
        make=_plain(workloads.classify),
        shows=("requests/s", "latency p50", "latency p99"),
        counts={"smoke": 4, "full": 500},
        full=(OURS, ENGINE, OURS_FAST, BF16, Q8),
    ),
    Entry(
        name="embed",
        about="texts of 4-200 words, 10 in a request, all at once",
        make=_plain(workloads.embed),
        shows=("texts/s",),
        counts={"smoke": 20, "full": 1000},
        full=(EMBED, EMBED_ENGINE, EMBED_ONE),
    ),
)


def _ratio(title: str, workload: str, measure: str, of: str, *to: str, wanted: float) -> Comparison:
    return Comparison(
        title=title,
        of=Side(workload=workload, measure=measure, subjects=(of,)),
        to=Side(workload=workload, measure=measure, subjects=to),
        wanted=wanted,
    )


COMPARISONS = (
    _ratio("Millrace to the bare engine, exact", "mixed", "tokens/s", OURS, ENGINE, wanted=0.95),
    _ratio("Millrace exact to llama.cpp at bf16", "mixed", "tokens/s", OURS, BF16, wanted=1.2),
    _ratio(
        "Millrace exact to llama.cpp's best of f16 and bf16",
        "mixed", "tokens/s", OURS, F16, BF16, wanted=1.2,
    ),
    _ratio(f"Millrace {FAST} to llama.cpp at Q8_0", "mixed", "tokens/s", OURS_FAST, Q8, wanted=1.7),
    _ratio(
        f"Millrace {FAST} to llama.cpp's fastest of all",
        "mixed", "tokens/s", OURS_FAST, F16, BF16, Q8, Q4, wanted=1.2,
    ),
    _ratio("Millrace to one job at a time", "mixed", "tokens/s", OURS, ONE, wanted=1.5),
    _ratio("Millrace to a plain Celery task", "mixed", "tokens/s", OURS, CELERY, wanted=1.5),
    _ratio(
        "first token p99 at 50 % load, to the bare engine's",
        "poisson-50", "first token p99", OURS, ENGINE, wanted=1.5,
    ),
    Comparison(
        title="what HTTP and the queue add before the first token, p50",
        of=Side(workload="alone", measure="first token p50", subjects=(OURS,)),
        to=Side(workload="alone", measure="first token p50", subjects=(ENGINE,)),
        difference=True,
        wanted=5.0,
    ),
    Comparison(
        title="a shared system prompt to prompts that share nothing",
        of=Side(workload="shared", measure="requests/s", subjects=(OURS,)),
        to=Side(workload="unshared", measure="requests/s", subjects=(OURS,)),
        wanted=3.0,
    ),
    Comparison(
        title="a repeated request, p50",
        of=Side(workload="repeated", measure="latency p50", subjects=(OURS,)),
        wanted=3.0,
    ),
    Comparison(
        title="repeated requests by 16 clients",
        of=Side(workload="repeated-16", measure="requests/s", subjects=(OURS,)),
        wanted=1000.0,
    ),
    Comparison(
        title="longest stall of 8 streams when 1,500 tokens join",
        of=Side(workload="join", measure="longest stall", subjects=(OURS,)),
        wanted=300.0,
    ),
)  # fmt: skip
