"""Which worker gets which GPU, as leased in a real Redis."""

import pytest

from contract.errors import DeviceUnavailableError
from contract.store import Connection, DeviceLease
from workers.devices import Gpu, choose_device

GPU = Gpu(index=0, uuid="GPU-1")


def test_whoever_replaces_a_killed_worker_waits_for_its_gpu(connection: Connection) -> None:
    assert DeviceLease(connection, "killed", 0.5).keep(GPU.uuid)
    mine = DeviceLease(connection, "next", 10)
    chosen = choose_device("auto", gpus=[GPU], cuda_installed=True, lease=mine, patience_s=5)
    assert chosen == GPU


def test_a_gpu_that_stays_taken_leaves_the_cpu_or_is_said_to_be_missing(
    connection: Connection,
) -> None:
    assert DeviceLease(connection, "first", 10).keep(GPU.uuid)
    mine = DeviceLease(connection, "second", 10)
    assert choose_device("auto", gpus=[GPU], cuda_installed=True, lease=mine) is None
    with pytest.raises(DeviceUnavailableError, match="no free GPU"):
        choose_device("cuda", gpus=[GPU], cuda_installed=True, lease=mine)


def test_a_gpu_belongs_to_whoever_keeps_it_until_it_is_given_back(connection: Connection) -> None:
    first = DeviceLease(connection, "first", 10)
    second = DeviceLease(connection, "second", 10)
    assert first.keep(GPU.uuid)
    assert first.keep(GPU.uuid)
    assert not second.keep(GPU.uuid)
    second.give_back(GPU.uuid)
    assert not second.keep(GPU.uuid)
    first.give_back(GPU.uuid)
    assert second.keep(GPU.uuid)
