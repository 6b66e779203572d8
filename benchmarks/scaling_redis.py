"""What Redis has done and taken between two moments, by its own account."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SCRIPTS = ("evalsha", "eval")
_OURS = ("info",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Redis at one moment. ``cpu_s`` is of its main thread, which does all commands."""

    at_s: float
    cpu_s: float
    calls: Mapping[str, int]
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What lies between two readings. ``commands`` counts those that scripts call, too."""

    seconds: float
    cpu_s: float
    commands: Mapping[str, int]
    grown_bytes: int

    @property
    def scripts(self) -> int:
        """Calls of scripts."""
        return sum(self.commands.get(name, 0) for name in _SCRIPTS)

    @property
    def others(self) -> int:
        """Commands, in scripts or not, but not the calls of scripts themselves."""
        total = sum(self.commands.values())
        return total - self.scripts - sum(self.commands.get(name, 0) for name in _OURS)


def read(redis: Any) -> Reading:
    """Ask Redis."""
    cpu, memory = redis.info("cpu"), redis.info("memory")
    return Reading(
        at_s=time.perf_counter(),
        cpu_s=cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"],
        calls=calls_of(redis.info("commandstats")),
        used_bytes=memory["used_memory"],
    )


def calls_of(stats: Mapping[str, Any]) -> dict[str, int]:
    """Calls by command, of the section ``commandstats``."""
    return {
        name.removeprefix("cmdstat_"): row["calls"]
        for name, row in stats.items()
        if name.startswith("cmdstat_")
    }


def between(before: Reading, after: Reading) -> Spent:
    """The difference."""
    grown = {
        name: count - before.calls.get(name, 0)
        for name, count in after.calls.items()
        if count > before.calls.get(name, 0)
    }
    return Spent(
        seconds=after.at_s - before.at_s,
        cpu_s=after.cpu_s - before.cpu_s,
        commands=grown,
        grown_bytes=after.used_bytes - before.used_bytes,
    )
