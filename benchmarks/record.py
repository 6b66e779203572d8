"""What one run of the benchmarks found, and how it is kept."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality import Quality
from benchmarks.summary import Row


@dataclass(slots=True, kw_only=True)
class Record:
    """Grows while the run goes on; the rest is made from it.

    ``workloads`` says what each is, ``subjects`` likewise. ``idle`` is a share of one core.
    ``capacity`` is what the arrivals are a share of, in requests per second.
    """

    mode: str
    rounds: int
    seed: int
    machine: Mapping[str, str]
    workloads: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)
    capacity: float | None = None
    rows: list[Row] = field(default_factory=list)

    def to_json(self) -> str:
        """Everything, with which another report can be made."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read what ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["rows"] = [Row(**row) for row in values["rows"]]
        values["quality"] = {
            name: Quality(**{**each, "wrong": tuple(each["wrong"])})
            for name, each in values["quality"].items()
        }
        return cls(**values)
