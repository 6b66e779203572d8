"""Keeps children alive, and takes all of them down."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from millrace.up.child import Child, ChildSpec, describe_exit
from millrace.up.errors import ProcessFailedError
from millrace.up.restarts import Restarts

TICK_S = 0.05


@dataclass(slots=True, kw_only=True)
class _Charge:
    """One child's place: the process that fills it now, and its past."""

    spec: ChildSpec
    is_ready: Callable[[int], bool]
    child: Child
    started_s: float
    restarts: Restarts = field(default_factory=Restarts)
    ready_s: float | None = None
    restart_s: float | None = None
    starts: int = 1


class Supervisor:
    """Owns the children. Everything happens in :meth:`tick` and :meth:`stop`, on one thread.

    ``say`` is told, in one line each, what a person would want to know.
    """

    def __init__(
        self,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._charges: dict[str, _Charge] = {}

    def start(self, spec: ChildSpec, is_ready: Callable[[int], bool]) -> None:
        """Start a child; ``is_ready`` is asked with its pid until it says yes."""
        self._charges[spec.name] = _Charge(
            spec=spec, is_ready=is_ready, child=Child(spec), started_s=self._clock()
        )

    @property
    def names(self) -> list[str]:
        """Names of the children, in the order of their start."""
        return list(self._charges)

    @property
    def waiting_for(self) -> list[str]:
        """Names of the children that are not ready."""
        return [name for name, each in self._charges.items() if each.ready_s is None]

    def pid(self, name: str) -> int:
        """The process id of a child."""
        return self._charges[name].child.pid

    def ready_after_s(self, name: str) -> float | None:
        """How long a child took from its start to being ready, None before that."""
        charge = self._charges[name]
        return None if charge.ready_s is None else charge.ready_s - charge.started_s

    def tick(self) -> None:
        """Look after every child once.

        Raises:
            ProcessFailedError: an essential one is in a crash loop; the detail ends with its
                last lines.
        """
        for charge in list(self._charges.values()):
            if charge.restart_s is not None:
                if self._clock() >= charge.restart_s:
                    self._restart(charge)
            elif (code := charge.child.poll()) is not None:
                self._mourn(charge, code)
            elif charge.ready_s is None and charge.is_ready(charge.child.pid):
                charge.ready_s = self._clock()
                if charge.starts > 1:
                    took_s = charge.ready_s - charge.started_s
                    self._say(
                        f"{charge.spec.name} is back as pid {charge.child.pid} ({took_s:.1f} s)"
                    )

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop all children, in the order of their ranks; once ``hurry()``, without patience."""
        for rank in sorted({each.spec.stop_rank for each in self._charges.values()}):
            group = [each for each in self._charges.values() if each.spec.stop_rank == rank]
            self._stop_rank(group, hurry)
            for charge in group:
                del self._charges[charge.spec.name]

    def _stop_rank(self, group: list[_Charge], hurry: Callable[[], bool]) -> None:
        hasty = hurry()
        for charge in group:
            charge.child.signal(charge.spec.hasty_signal if hasty else charge.spec.stop_signal)
        end_s = self._clock() + max(each.spec.stop_s for each in group)
        while any(each.child.poll() is None for each in group) and self._clock() < end_s:
            if hurry() and not hasty:
                hasty = True
                for charge in group:
                    charge.child.signal(charge.spec.hasty_signal)
            self._sleep(TICK_S)
        for charge in group:
            if charge.child.poll() is None:
                self._say(f"{charge.spec.name} did not stop in {charge.spec.stop_s:g} s: killed")
            charge.child.end()

    def _mourn(self, charge: _Charge, code: int) -> None:
        name, pid = charge.spec.name, charge.child.pid
        charge.child.end()  # what its group may have left
        now = self._clock()
        pause_s = charge.restarts.pause_s(
            ready_for_s=None if charge.ready_s is None else now - charge.ready_s,
            killed=code == -signal.SIGKILL,
        )
        what = f"{name} (pid {pid}) {describe_exit(code)}"
        if pause_s is None and not charge.spec.essential:
            del self._charges[name]
            self._say(f"{what} again and again; going on without it (log: {charge.spec.log})")
            return
        if pause_s is None:
            raise ProcessFailedError(
                f"{what}, the {charge.restarts.deaths}th time in a row. Its last lines, from"
                f" {charge.spec.log}:\n{charge.child.last_lines()}"
            )
        self._say(f"{what}; starting it again in {pause_s:g} s (log: {charge.spec.log})")
        charge.ready_s = None
        charge.restart_s = now + pause_s

    def _restart(self, charge: _Charge) -> None:
        charge.child = Child(charge.spec)
        charge.started_s = self._clock()
        charge.restart_s = None
        charge.starts += 1
