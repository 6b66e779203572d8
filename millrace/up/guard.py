"""Becomes a command that dies with its parent: ``guard.py PARENT_PID SIGNAL COMMAND ...``.

Run as a file by a bare interpreter (``python -I -S``), so that it costs a few milliseconds. On
Linux the kernel sends SIGNAL to the command when its parent ends in any way, SIGKILL included.
Elsewhere there is no such service, and a parent that is killed leaves its children: the next
``millrace up`` then finds the Valkey that holds its port and data folder, and stops it.
"""

import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int, signal_number: int) -> None:
    """Ask the kernel for ``signal_number`` at the parent's death; exit if it is dead already."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]), int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
