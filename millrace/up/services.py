"""How the front, the workers and Flower are run."""

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata

from contract.settings import Settings
from millrace.extras import require
from millrace.up.child import ChildSpec
from millrace.up.data_folder import DataFolder

FLOWER_HOST = "127.0.0.1"
GUNICORN = ("-m", "gunicorn", "--config", "python:producer.gunicorn_config", "producer.wsgi:app")
WORKER = ("-m", "workers.app")
FEEDER = ("-m", "producer.feeder.app")
_MARGIN_S = 5.0


def require_installed(*, flower: bool) -> None:
    """Raise MissingDependencyError unless every part can be imported by its process."""
    require("gunicorn", "flask", "gevent", "celery", "redis", "onnxruntime", extra="local")
    if flower:
        require("flower", extra="local")


def front_spec(folder: DataFolder, environ: Mapping[str, str]) -> ChildSpec:
    """gunicorn with the HTTP front; its processes end by themselves when their master does."""
    return ChildSpec(
        name="front",
        command=(sys.executable, *GUNICORN),
        environ=environ,
        log=folder.log("front"),
        stop_rank=1,
        stop_s=4.0,
    )


def worker_specs(
    settings: Settings, folder: DataFolder, environ: Mapping[str, str], *, count: int
) -> list[ChildSpec]:
    """``count`` workers, which share the cores unless MILLRACE_THREADS says otherwise.

    Told to stop, a worker lets its jobs finish for ``drain_s``.
    """
    threads = settings.threads or max(1, cores() // count)
    own = {**environ, "MILLRACE_THREADS": str(threads)}
    return [
        ChildSpec(
            name=f"worker-{number}",
            command=(sys.executable, *WORKER),
            environ=own,
            log=folder.log(f"worker-{number}"),
            stop_rank=0,
            stop_s=settings.drain_s + _MARGIN_S,
        )
        for number in range(1, count + 1)
    ]


def feeder_spec(folder: DataFolder, environ: Mapping[str, str]) -> ChildSpec:
    """The process that lets the lines of batches through."""
    return ChildSpec(
        name="feeder",
        command=(sys.executable, *FEEDER),
        environ=environ,
        log=folder.log("feeder"),
        stop_rank=1,
        stop_s=4.0,
    )


def flower_spec(settings: Settings, folder: DataFolder, environ: Mapping[str, str]) -> ChildSpec:
    """Flower, read-only and on the loopback: it has no login."""
    return ChildSpec(
        name="flower",
        command=(
            sys.executable,
            *("-m", "celery", "--app", "millrace.cli.flower_app", "flower"),
            f"--address={FLOWER_HOST}",
            f"--port={settings.flower_port}",
            "--read_only=True",
        ),
        environ=environ,
        log=folder.log("flower"),
        essential=False,
        stop_rank=0,
        stop_s=4.0,
    )


def versions() -> list[str]:
    """The versions that matter when something behaves oddly."""
    found = [f"Python {platform.python_version()}"]
    for name in ("celery", "onnxruntime-genai"):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    with suppress(metadata.PackageNotFoundError):
        found.insert(0, f"Millrace {metadata.version('millrace')}")
    return [*found, f"{cores()} cores"]


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
