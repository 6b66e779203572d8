"""The only importer of onnxruntime: sessions, devices, and its errors translated into ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import (
    DeviceUnavailableError,
    EngineError,
    InvalidModelError,
    MissingDependencyError,
)

try:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
except ImportError as error:
    raise MissingDependencyError(
        "onnxruntime is not installed; install the extra `cpu` or `gpu`"
    ) from error

Array = np.ndarray[Any, Any]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    UnicodeDecodeError,  # its own message quotes bytes of the file
)


class Session:
    """One loaded ONNX graph. ``run`` may be called from several threads at once."""

    def __init__(self, session: "ort.InferenceSession") -> None:
        self._session = session
        self.inputs = {each.name: tuple(each.shape) for each in session.get_inputs()}
        """Input name -> shape; a dimension that may vary has a name, not a number."""
        self.outputs = {each.name: tuple(each.shape) for each in session.get_outputs()}
        self.device = "cuda" if _CUDA in session.get_providers() else "cpu"

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        """Run the graph; the outputs ``names``, or all of them. Raises EngineError."""
        try:
            found: list[Array] = self._session.run(names, dict(feeds))
        except _ERRORS as error:
            raise EngineError(f"ONNX Runtime could not run the graph: {error}") from error
        return found

    def run_in_place(
        self, names: Sequence[str], feeds: Mapping[str, Array], state: Mapping[str, "State"]
    ) -> list[Array]:
        """Run on the CPU with ``state`` read and written where it lies.

        ``state`` maps the name of an output to the buffer that receives it; each buffer also
        feeds the input that it was made for. Raises EngineError.
        """
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for output, each in state.items():
            binding.bind_ortvalue_input(each.input, each.value)
            binding.bind_ortvalue_output(output, each.value)
        for name in names:
            binding.bind_output(name)
        try:
            self._session.run_with_iobinding(binding)
        except _ERRORS as error:
            raise EngineError(f"ONNX Runtime could not run the graph: {error}") from error
        return [each.numpy() for each in binding.get_outputs()[-len(names) :]]


class State:
    """A float32 buffer of ``shape`` that feeds the graph input ``input``; all NaN at first."""

    def __init__(self, input: str, shape: tuple[int, ...]) -> None:
        self.input = input
        self.value = ort.OrtValue.ortvalue_from_numpy(np.full(shape, np.nan, np.float32))


def available_providers() -> list[str]:
    """The execution providers in this installation, best first; it says nothing of hardware."""
    return list(ort.get_available_providers())


def versions() -> dict[str, str]:
    """The runtime's name and version."""
    return {"onnxruntime": ort.__version__}


def open_session(path: Path, *, device: str = "cpu", threads: int = 0) -> Session:
    """Load an ONNX file on ``cpu``, ``cuda`` or ``cuda:N``; ``threads`` 0 means all cores.

    Raises:
        DeviceUnavailableError: CUDA was asked for and the session would run on the CPU.
        InvalidModelError: the file is not a graph that this runtime can load.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads must not spin: other processes share the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [_CPU]
    if device.startswith("cuda"):
        providers = [(_CUDA, {"device_id": _device_index(device)}), _CPU]
        if _CUDA not in available_providers():
            raise DeviceUnavailableError(
                f"{device} was asked for, but this onnxruntime has no CUDA; install the extra `gpu`"
            )
        ort.preload_dlls()
    elif device != "cpu":
        raise DeviceUnavailableError(f"{device!r} is not a device: use cpu, cuda or cuda:N")
    try:
        session = Session(ort.InferenceSession(str(path), options, providers=providers))
    except _ERRORS as error:
        raise InvalidModelError(f"{path} cannot be loaded: {error}") from error
    if device != "cpu" and session.device == "cpu":
        raise DeviceUnavailableError(
            f"{device} was asked for, but ONNX Runtime fell back to the CPU; see its log above"
        )
    return session


def _device_index(device: str) -> int:
    _, _, index = device.partition(":")
    if index and not index.isdecimal():
        raise DeviceUnavailableError(f"{device!r} is not a device: use cpu, cuda or cuda:N")
    return int(index or 0)
