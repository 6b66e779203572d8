"""When a child that died is started again, and when that is given up."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Restarts:
    """The deaths in a row of one child.

    A death counts unless the child had been ready and was then either killed from outside
    (SIGKILL: an operator, or the kernel out of memory) or had served for ``stable_s``. Pauses
    double with each death that counts; ``limit`` of them are a crash loop.
    """

    first_s: float = 0.2
    cap_s: float = 5.0
    stable_s: float = 30.0
    limit: int = 5
    deaths: int = 0

    def pause_s(self, *, ready_for_s: float | None, killed: bool) -> float | None:
        """Seconds before the next start after a death, or None for a crash loop.

        ``ready_for_s`` is how long the child had been ready, None if it never was.
        """
        if ready_for_s is not None and (killed or ready_for_s >= self.stable_s):
            self.deaths = 0
            return self.first_s
        self.deaths += 1
        if self.deaths >= self.limit:
            return None
        return min(self.cap_s, self.first_s * 2.0 ** (self.deaths - 1))
