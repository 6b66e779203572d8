"""The supervisor with real, small child processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace.up.child import ChildSpec
from millrace.up.errors import ProcessFailedError
from millrace.up.restarts import Restarts
from millrace.up.supervisor import Supervisor
from tests.support.waiting import eventually

SLEEP = "import time; print('here', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('here', flush=True); time.sleep(60)"
)


class Watched:
    """A supervisor, what it said, and a folder for logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(say=self.said.append)

    def start(self, name: str, code: str, **changes: object) -> None:
        spec = ChildSpec(
            name=name,
            command=(sys.executable, "-c", code),
            environ=dict(os.environ),
            log=self.folder / f"{name}.log",
            **changes,  # type: ignore[arg-type]
        )
        self.supervisor.start(spec, lambda _pid: "here" in self.log(name))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Tick until the condition holds."""

        def turn() -> bool:
            self.supervisor.tick()
            return condition()

        eventually(turn, timeout_s=timeout_s)

    def until_ready(self) -> None:
        self.until(lambda: not self.supervisor.waiting_for)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    each = Watched(tmp_path)
    yield each
    each.supervisor.stop(hurry=lambda: True)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_that_is_killed_comes_back_at_once_and_is_named(watched: Watched) -> None:
    watched.start("sleeper", SLEEP)
    watched.until_ready()
    first = watched.supervisor.pid("sleeper")
    os.kill(first, signal.SIGKILL)
    watched.until(lambda: any("is back as pid" in line for line in watched.said))
    assert watched.supervisor.pid("sleeper") != first
    assert watched.said[0].startswith(f"sleeper (pid {first}) was killed by SIGKILL (by hand, or")


def test_a_crash_loop_ends_with_the_last_lines(watched: Watched) -> None:
    watched.start("broken", "import sys; sys.exit('no such model')")
    with pytest.raises(ProcessFailedError) as caught:
        watched.until(lambda: False)
    assert "broken (pid" in caught.value.detail
    assert "ended with exit code 1, the 5th time in a row" in caught.value.detail
    assert caught.value.detail.endswith("no such model")
    assert len(watched.said) == 4


def test_a_child_that_is_not_essential_is_left_out_instead(watched: Watched) -> None:
    watched.start("sleeper", SLEEP)
    watched.start("broken", "import sys; sys.exit(3)", essential=False)
    watched.until(lambda: watched.supervisor.names == ["sleeper"])
    watched.until_ready()
    assert "ended with exit code 3 again and again; going on without it" in watched.said[-1]


def test_a_stop_gives_time_to_end_and_then_kills(watched: Watched) -> None:
    watched.start("stubborn", STUBBORN, stop_s=0.3)
    watched.start("obedient", SLEEP, stop_s=0.3)
    watched.until_ready()
    pids = [watched.supervisor.pid(name) for name in ("stubborn", "obedient")]
    watched.supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)
    assert watched.said == ["stubborn did not stop in 0.3 s: killed"]


def test_a_hurried_stop_waits_for_nobody(watched: Watched) -> None:
    watched.start("stubborn", STUBBORN, stop_s=60.0)
    watched.until_ready()
    pid = watched.supervisor.pid("stubborn")
    watched.supervisor.stop(hurry=lambda: True)
    assert not is_alive(pid)


def test_children_stop_in_the_order_of_their_ranks(watched: Watched) -> None:
    note = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    open({file!r}, 'a').write({name!r} + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('here', flush=True)\n"
        "time.sleep(60)\n"
    )
    file = str(watched.folder / "order")
    for name, rank in (("store", 2), ("worker", 0), ("front", 1)):
        watched.start(name, note.format(file=file, name=name), stop_rank=rank)
    watched.until_ready()
    watched.supervisor.stop()
    assert Path(file).read_text().split() == ["worker", "front", "store"]


def test_what_a_child_started_ends_with_it(watched: Watched) -> None:
    watched.start(
        "parent",
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL)\n"
        "print('here', child.pid, flush=True)\n"
        "time.sleep(60)\n",
    )
    watched.until_ready()
    grandchild = int(watched.log("parent").split()[1])
    os.kill(watched.supervisor.pid("parent"), signal.SIGKILL)
    watched.until(lambda: any("is back" in line for line in watched.said))
    assert not is_alive(grandchild)


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's service that this uses is Linux's"
)
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from millrace.up.child import Child, ChildSpec\n"
        f"spec = ChildSpec(name='x', command=(sys.executable, '-c', {SLEEP!r}),\n"
        f"    environ=dict(os.environ), log=Path({str(tmp_path / 'x.log')!r}))\n"
        "print(Child(spec).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: "here" in (tmp_path / "x.log").read_text())
        parent.kill()
    eventually(lambda: not is_alive(child))


def test_deaths_in_a_row_pause_longer_and_are_then_given_up() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_s(ready_for_s=None, killed=False) for _ in range(5)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, None]


def test_a_ready_child_that_is_killed_again_and_again_is_never_given_up() -> None:
    restarts = Restarts()
    assert {restarts.pause_s(ready_for_s=0.5, killed=True) for _ in range(20)} == {0.2}


def test_a_child_that_crashes_soon_after_it_was_ready_is_given_up_too() -> None:
    restarts = Restarts()
    assert [restarts.pause_s(ready_for_s=2.0, killed=False) for _ in range(5)][-1] is None


def test_a_long_service_clears_the_record() -> None:
    restarts = Restarts(deaths=4)
    assert restarts.pause_s(ready_for_s=31.0, killed=False) == 0.2
    assert restarts.deaths == 0
