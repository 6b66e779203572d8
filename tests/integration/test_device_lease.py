"""Which worker gets which GPU, as leased in a real Redis."""

import pytest

from contract.errors import DeviceUnavailableError
from contract.store import Connection, DeviceLease
from workers.devices import Gpu, choose_device

GPU = Gpu(index=0, uuid="GPU-1")


def test_whoever_replaces_a_killed_worker_waits_for_its_gpu(connection: Connection) -> None:
    assert DeviceLease(connection, "killed", 0.5).take(GPU.uuid)
    mine = DeviceLease(connection, "next", 10)
    chosen = choose_device("auto", gpus=[GPU], cuda_installed=True, lease=mine, patience_s=5)
    assert chosen == GPU


def test_a_gpu_that_stays_taken_leaves_the_cpu_or_is_said_to_be_missing(
    connection: Connection,
) -> None:
    assert DeviceLease(connection, "first", 10).take(GPU.uuid)
    mine = DeviceLease(connection, "second", 10)
    assert choose_device("auto", gpus=[GPU], cuda_installed=True, lease=mine) is None
    with pytest.raises(DeviceUnavailableError, match="no free GPU"):
        choose_device("cuda", gpus=[GPU], cuda_installed=True, lease=mine)
