"""Which device an engine runs on, and what it offers."""

import os
import subprocess

from contract.errors import DeviceUnavailableError

CPU = "cpu"
CUDA = "cuda"


def parse_device(device: str) -> tuple[str, int]:
    """``cpu``, ``cuda`` or ``cuda:N`` as kind and index. Raises DeviceUnavailableError."""
    kind, separator, index = device.partition(":")
    if (device == CPU or kind == CUDA) and (not separator or index.isdecimal()):
        return kind, int(index or 0)
    raise DeviceUnavailableError(f"{device!r} is not a device: use cpu, cuda or cuda:N")


def usable_threads(threads: int) -> int:
    """``threads``, or as many as there are cores for this process when it is 0.

    Left to itself, ONNX Runtime would also pin its threads, and two workers on one machine
    would share the same cores.
    """
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_gpu_bytes(index: int) -> int:
    """Free memory of the GPU that CUDA calls ``index``, as nvidia-smi tells it.

    Raises:
        DeviceUnavailableError: there is no such GPU, or no driver.
    """
    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    name = visible[index] if index < len(visible) else str(index)
    query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    command = ["nvidia-smi", f"--id={name}", *query]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise DeviceUnavailableError(f"nvidia-smi knows no GPU {name!r}: {error}") from error
