"""Faults of every kind, drawn from a seed, one after another."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.support.lab import Lab
from tests.support.waiting import eventually


class Chaos:
    """Does harm to a lab. Each fault is over, but not yet mended, when its method returns."""

    def __init__(self, lab: Lab, chance: random.Random) -> None:
        self._lab = lab
        self._chance = chance
        self.done: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], None]] = {
            "worker killed": self.kill_worker,
            "worker stopped": self.stop_worker,
            "worker frozen": self.freeze_worker,
            "front killed": self.kill_front,
            "front stopped": self.stop_front,
            "connections closed": self.close_connections,
            "Redis killed": self.kill_redis,
            "Redis frozen": self.freeze_redis,
        }

    def strike(self) -> str:
        """One fault, of a random kind; its name."""
        kind = self._chance.choice(list(self._kinds))
        self._kinds[kind]()
        self.done[kind] += 1
        return kind

    def kill_worker(self) -> None:
        """kill -9."""
        self._signal_worker(signal.SIGKILL)

    def stop_worker(self) -> None:
        """SIGTERM: it finishes or gives back what it holds."""
        self._signal_worker(signal.SIGTERM)

    def freeze_worker(self) -> None:
        """SIGSTOP for up to two leases."""
        number = self._chance.randrange(len(self._lab.workers))
        worker = self._lab.workers[number]
        if worker.alive:
            worker.signal(signal.SIGSTOP)
            time.sleep(self._chance.uniform(0, 2) * self._lab.settings.lease_s)
            worker.signal(signal.SIGCONT)

    def _signal_worker(self, number: signal.Signals) -> None:
        worker = self._chance.choice(self._lab.workers)
        if worker.alive:
            worker.signal(number)

    def kill_front(self) -> None:
        """kill -9 of a front and all that it forked."""
        front = self._chance.choice(self._lab.fronts)
        if front.alive:
            front.kill()

    def stop_front(self) -> None:
        """SIGTERM."""
        front = self._chance.choice(self._lab.fronts)
        if front.alive:
            os.kill(front.pid, signal.SIGTERM)

    def close_connections(self) -> None:
        """CLIENT KILL of everybody."""
        client = self._lab.redis.client()
        for kind in ("pubsub", "normal"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
        client.close()

    def kill_redis(self) -> None:
        """kill -9, and a start some seconds later, from its append-only file."""
        self._lab.redis.kill()
        time.sleep(self._chance.uniform(0, 4))
        self._lab.redis.start()

    def freeze_redis(self) -> None:
        """SIGSTOP for some seconds."""
        os.kill(self._lab.redis.pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0, 7))
        os.kill(self._lab.redis.pid, signal.SIGCONT)
        eventually(lambda: self._lab.redis.client().ping(), timeout_s=20)
