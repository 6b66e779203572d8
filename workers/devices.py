"""Which device this worker runs on: the CPU, or one GPU that it leases for itself alone."""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from contract.errors import DeviceUnavailableError, StoreUnavailableError
from contract.store import DeviceLease

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    index: int
    uuid: str


def list_gpus() -> list[Gpu]:
    """The GPUs of this host, by nvidia-smi; none when there is no driver."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(",") for line in answer.stdout.splitlines() if "," in line)
    return [Gpu(index=int(index), uuid=uuid.strip()) for index, uuid in rows]


def choose_device(
    wanted: str,
    *,
    gpus: list[Gpu],
    cuda_installed: bool,
    lease: DeviceLease,
    patience_s: float = 0.0,
) -> Gpu | None:
    """The GPU to run on, leased; None for the CPU.

    Args:
        wanted: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cuda_installed: whether ONNX Runtime was installed with CUDA.
        patience_s: how long to wait for a GPU to become free. A worker that was killed holds its
            own until its lease ends; whoever replaces it should get that one, not the CPU.

    Raises:
        DeviceUnavailableError: a GPU was asked for and there is none, or none that is free.
    """
    usable = gpus if cuda_installed else []
    if wanted == "cpu" or (wanted == "auto" and not usable):
        return None
    if wanted != "auto" and not cuda_installed:
        raise DeviceUnavailableError(
            f"MILLRACE_DEVICE={wanted}, but this ONNX Runtime has no CUDA: install millrace[gpu]"
        )
    if wanted not in ("auto", "cuda"):
        usable = [gpu for gpu in gpus if f"cuda:{gpu.index}" == wanted]
        if not usable:
            raise DeviceUnavailableError(
                f"MILLRACE_DEVICE={wanted}, but this host has {len(gpus)} GPUs by nvidia-smi"
            )
    due_s = time.monotonic() + patience_s
    while True:
        for gpu in usable:
            if lease.keep(gpu.uuid):
                return gpu
        if time.monotonic() >= due_s:
            break
        time.sleep(min(0.5, patience_s))
    if wanted == "auto":
        return None  # every GPU has its worker; one more on the CPU still helps
    raise DeviceUnavailableError(
        f"MILLRACE_DEVICE={wanted}: no free GPU, each of {len(usable)} is leased by another worker"
    )


class DeviceKeeper:
    """Renews the lease of a GPU while the process lives.

    Args:
        on_lost: called when another worker has taken the GPU over.
    """

    def __init__(
        self, gpu: Gpu, lease: DeviceLease, *, every_s: float, on_lost: Callable[[], None]
    ) -> None:
        self._gpu = gpu
        self._lease = lease
        self._every_s = every_s
        self._on_lost = on_lost
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End, and give the GPU back."""
        self._stopped.set()
        self._thread.join(timeout=3)
        try:
            self._lease.give_back(self._gpu.uuid)
        except StoreUnavailableError:
            _log.warning("device.not_given_back", uuid=self._gpu.uuid)  # its lease runs out

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                if not self._lease.keep(self._gpu.uuid):
                    self._on_lost()
                    return
            except StoreUnavailableError:
                continue  # nobody else can take it either while Redis is away
