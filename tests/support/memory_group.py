"""Memory limits that the kernel enforces with its OOM killer: cgroups of this test's own."""

import os
import uuid
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
# Each process makes a group of its own inside: whoever shares a group might be killed instead.
_ENTER = 'mkdir "$0/$$" && echo "$1" > "$0/$$/$2" && echo $$ > "$0/$$/cgroup.procs" || exit 1'
_ENTER += "\nshift 2\n" + 'exec "$@"'


class MemoryGroup:
    """A cgroup (version 1 or 2) under which every process started with ``prefix`` has its limit.

    Raises (from the constructor):
        OSError: there is no memory controller here that this user may write to.
    """

    def __init__(self, limit_bytes: int) -> None:
        one = (_MOUNT / "memory" / "memory.limit_in_bytes").exists()
        name = f"millrace-{uuid.uuid4().hex[:8]}"
        self._path = (_MOUNT / "memory" if one else _MOUNT) / name
        self._path.mkdir()
        try:
            if not one:
                (self._path / "cgroup.subtree_control").write_text("+memory")
            limit = "memory.limit_in_bytes" if one else "memory.max"
        except OSError:
            self._path.rmdir()
            raise
        self.prefix = ["sh", "-c", _ENTER, str(self._path), str(limit_bytes), limit]

    def remove(self) -> None:
        """Remove it, once all of its processes have ended."""
        for group in self._path.iterdir():
            if group.is_dir():
                group.rmdir()
        self._path.rmdir()


def missing() -> str | None:
    """What keeps this machine from limiting memory so, or None."""
    if os.geteuid() != 0:
        return "a memory cgroup needs root"
    try:
        MemoryGroup(1 << 30).remove()
    except OSError as error:
        return f"no memory cgroup that may be written to: {error.strerror} ({error.filename})"
    return None
