"""How a process logs."""

import subprocess
import sys
from pathlib import Path

import pytest

FULL_DISK = Path("/dev/full")
PROGRAM = """
import structlog
from contract.logs import configure_logs
configure_logs("info", "json")
for _ in range(3):
    structlog.get_logger().error("store.refuses")
print("still here", flush=True)
"""


@pytest.mark.skipif(not FULL_DISK.exists(), reason="needs the device of a disk that is full")
def test_a_line_that_finds_no_room_on_the_disk_ends_nobody() -> None:
    with FULL_DISK.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.stdout == b"still here\n"
