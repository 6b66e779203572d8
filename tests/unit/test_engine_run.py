"""A run ends once, and whoever waits is told how."""

import pytest

from contract.errors import DeviceUnavailableError, EngineError, RunCancelledError
from workers.engine.device import parse_device, usable_threads
from workers.engine.run import Run


def test_a_result_is_handed_over() -> None:
    run: Run[None, str] = Run(None)
    run.complete("done")
    assert run.result() == "done"
    assert run.done


def test_the_first_end_counts() -> None:
    run: Run[None, str] = Run(None)
    run.fail(EngineError("first"))
    run.complete("late")
    with pytest.raises(EngineError, match="first"):
        run.result()


def test_waiting_too_long_for_a_result_leaves_the_run_alone() -> None:
    run: Run[None, str] = Run(None)
    with pytest.raises(TimeoutError):
        run.result(0.01)
    assert not run.done


def test_a_dropped_run_says_that_it_was_cancelled() -> None:
    run: Run[None, str] = Run(None)
    run.cancel()
    assert run.cancelled
    run.drop()
    with pytest.raises(RunCancelledError):
        run.result()


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA"])
def test_a_device_that_is_none_is_refused_by_name(device: str) -> None:
    with pytest.raises(DeviceUnavailableError, match="is not a device"):
        parse_device(device)


def test_devices_have_a_kind_and_an_index() -> None:
    assert [parse_device(each) for each in ("cpu", "cuda", "cuda:3")] == [
        ("cpu", 0),
        ("cuda", 0),
        ("cuda", 3),
    ]


def test_no_number_of_threads_means_all_cores_of_this_process() -> None:
    assert usable_threads(3) == 3
    assert usable_threads(0) >= 1
