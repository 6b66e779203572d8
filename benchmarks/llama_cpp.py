"""llama.cpp's server as a peer: builds it once, and gives it the same weights.

python -m benchmarks.llama_cpp [FOLDER]     builds into FOLDER (.millrace/bench), in minutes

A `llama-server` and `llama-quantize` on the PATH are used as they are. Otherwise the source that
the package llama-cpp-python carries on the Python Package Index is built for this processor.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize

from contract.errors import MissingDependencyError
from model_store.staging import exclusive

SDIST_VERSION = "0.3.36"
PEERS = Path(".millrace/bench")
_SERVER, _QUANTIZE = "llama-server", "llama-quantize"
_BUILD_S = 3600
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",  # every instruction that this processor has
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
)
_WRITTEN_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCpp:
    """Where the programs are, and which version they are."""

    server: Path
    quantize: Path
    version: str


def obtain_llama_cpp(peers: Path, *, build: bool, say: Say | None = None) -> LlamaCpp:
    """The programs: from the PATH, from an earlier build in ``peers``, or built now.

    Raises:
        MissingDependencyError: they are not there, and ``build`` is False or the build failed.
    """
    say = say or _to_stderr
    packaged = shutil.which(_SERVER), shutil.which(_QUANTIZE)
    if packaged[0] and packaged[1]:
        return _found(Path(packaged[0]), Path(packaged[1]))
    folder = peers / f"llama.cpp-{SDIST_VERSION}"
    server, quantize = folder / _SERVER, folder / _QUANTIZE
    if not (server.exists() and quantize.exists()):
        if not build:
            raise MissingDependencyError(
                "llama.cpp is not built; `python -m benchmarks.llama_cpp` does it, in minutes"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(peers / ".llama.cpp.lock"):
            _build(folder, say)
    return _found(server, quantize)


def llama_gguf(llama: LlamaCpp, source: Path, peers: Path, form: str) -> Path:
    """The weights of ``source`` in a form of llama.cpp, such as ``f32``, ``bf16`` or ``q8_0``.

    ``source`` may be quantized: it is first made float32, which is what Millrace's own forms
    are made from, and every form is made from that by llama-quantize.

    Raises:
        MissingDependencyError: llama-quantize does not know the form.
    """
    exact = peers / f"{source.stem}-{source.stat().st_size}-f32.gguf"
    with exclusive(peers / ".weights.lock"):
        if not exact.exists():
            write_float32(source, exact)
        if form == "f32":
            return exact
        path = exact.with_name(exact.name.replace("-f32", f"-{form}"))
        if not path.exists():
            part = path.with_suffix(".part")
            _run([str(llama.quantize), str(exact), str(part), form.upper()], peers / "quantize.log")
            part.rename(path)
    return path


def write_float32(source: Path, target: Path) -> None:
    """Copy a GGUF file with every tensor as float32."""
    reader = GGUFReader(source)
    part = target.with_suffix(".part")
    writer = GGUFWriter(part, arch=reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in _WRITTEN_ANEW:
            kind = field.types[0]
            inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(
            tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)


def _found(server: Path, quantize: Path) -> LlamaCpp:
    """What it calls itself stands in the first line that it says."""
    try:
        said = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependencyError(f"{server} does not run: {error}") from error
    line = (said.stdout + said.stderr).splitlines()[0]
    return LlamaCpp(server=server, quantize=quantize, version=line.removeprefix("version: "))


def _build(folder: Path, say: Say) -> None:
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            raise MissingDependencyError(f"llama.cpp cannot be built: {tool} is not installed")
    source = folder / "source"
    log = folder / "build.log"
    if not source.exists():
        say(f"downloading the source of llama-cpp-python {SDIST_VERSION}")
        _download(folder, source, log)
    tree = next(source.glob("*/vendor/llama.cpp"), None)
    if tree is None:
        raise MissingDependencyError(f"llama-cpp-python {SDIST_VERSION} carries no llama.cpp")
    say(f"building {_SERVER} and {_QUANTIZE}, which takes minutes; its log is {log}")
    build = folder / "build"
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(["cmake", "-S", str(tree), "-B", str(build), *ninja, *_OPTIONS], log)
    _run(
        ["nice", "cmake", "--build", str(build), "--parallel", "--target", _SERVER, _QUANTIZE], log
    )
    for name in (_SERVER, _QUANTIZE):
        shutil.copy2(build / "bin" / name, folder / name)
    shutil.rmtree(build)
    say(f"llama.cpp is in {folder}")


def _download(folder: Path, source: Path, log: Path) -> None:
    requirement = f"llama-cpp-python=={SDIST_VERSION}"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    _run([*pip, "--no-binary", "llama-cpp-python", "-d", str(folder), requirement], log)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (folder / "unpacked").rename(source)


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("ab") as out:
        try:
            done = subprocess.run(command, stdout=out, stderr=out, timeout=_BUILD_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MissingDependencyError(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise MissingDependencyError(f"{command[0]} failed, see {log}: {' '.join(last)}")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=PEERS)
    found = obtain_llama_cpp(parser.parse_args().folder, build=True)
    print(found.server)


if __name__ == "__main__":
    main()
