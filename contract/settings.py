"""Settings: one frozen value, made from an explicit mapping (in practice, the environment)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contract.errors import SettingsError
from contract.redis_address import RedisAddress

PREFIX = "MILLRACE_"


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _path(value: str) -> Path:
    return Path(_text(value))


def _names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ValueError("must name at least one model")
    return names


def _flag(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return words[value.strip().lower()]
    except KeyError:
        raise ValueError("must be 1 or 0") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value) if value.strip().lstrip("-").isdecimal() else None
        if number is None or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return number

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.strip().lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value.strip().lower()

    return parse


def _device(value: str) -> str:
    device = value.strip().lower()
    kind, _, index = device.partition(":")
    if device in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isdecimal()):
        return device
    raise ValueError("must be auto, cpu, cuda or cuda:N")


def _redis_url(value: str) -> str:
    return RedisAddress.parse(value).url


def _http_url(value: str) -> str:
    parts = urlsplit(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must look like http://HOST:PORT")
    return value.strip().rstrip("/")


def _setting(parse: Callable[[str], Any], default: Any, meaning: str, shown: str = "") -> Any:
    """A field that is read with ``parse``; ``shown`` documents a default that is derived."""
    metadata = {"parse": parse, "meaning": meaning, "shown": shown}
    return field(default=default, metadata=metadata, repr=parse is not _redis_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Build it with :meth:`from_mapping`."""

    host: str = _setting(_text, "127.0.0.1", "address that the HTTP front listens on")
    port: int = _setting(_whole(1, 65535), 8000, "port of the HTTP front")
    flower_port: int = _setting(_whole(1, 65535), 5555, "port of Flower, started by `up`")
    redis_url: str = _setting(
        _redis_url,
        "",
        "Redis or Valkey (6.2 or newer) that holds jobs and hints, or its Sentinels"
        " (redis+sentinel://HOST:PORT,HOST:PORT/NAME); unset, `up` starts its own",
        shown="redis://127.0.0.1:{REDIS_PORT}/0",
    )
    redis_port: int = _setting(
        _whole(1, 65535), 6399, "port of the embedded Valkey, used when REDIS_URL is unset"
    )
    appendfsync: str = _setting(
        _one_of("always", "everysec"),
        "always",
        "when the embedded Valkey writes to disk: always, before it answers, or everysec",
    )
    min_replicas: int = _setting(
        _whole(0, 100),
        0,
        "replicas that must have a job before its submit is answered 202, else 503;"
        " see high-availability.md",
    )
    data_dir: Path = _setting(_path, Path(".millrace"), "folder of the embedded Valkey and models")
    models_dir: Path = _setting(
        _path, Path(), "folder of the versioned model store", shown="{DATA_DIR}/models"
    )
    model: tuple[str, ...] = _setting(
        _names,
        ("smollm2",),
        "models that a worker serves, separated by commas: NAME, NAME@ALIAS or NAME:VERSION",
    )
    device: str = _setting(
        _device,
        "auto",
        "auto (a free GPU if there is one, else the CPU), cpu, cuda (any free GPU) or cuda:N",
    )
    slots: int = _setting(
        _whole(0, 1024),
        0,
        "jobs that one worker runs at once, per model;"
        " 0 takes as many as its memory and the measured time of its steps are good for",
    )
    threads: int = _setting(_whole(0, 1024), 0, "CPU threads of one engine; 0 takes every core")
    lease_s: float = _setting(
        _seconds(1, 3600), 10.0, "a worker silent for this long loses its jobs to others"
    )
    stall_s: float = _setting(
        _seconds(1, 3600), 20.0, "an engine whose loop hangs for this long has its worker replaced"
    )
    max_attempts: int = _setting(
        _whole(1, 100), 3, "attempts that may raise before a job becomes a dead letter"
    )
    max_backlog: int = _setting(
        _whole(1, 10_000_000), 10_000, "queued jobs per model; beyond it submits get 429"
    )
    max_body_bytes: int = _setting(
        _whole(1024, 1 << 30), 1 << 20, "largest request body; beyond it 413"
    )
    max_batch_bytes: int = _setting(
        _whole(1024, 1 << 30),
        8 << 20,
        "largest body of a bulk submit, each of whose jobs may have MAX_BODY_BYTES; beyond it 413",
    )
    files_url: str = _setting(
        _text,
        "",
        "where uploaded files and the results of batches are kept: a folder that fronts and feeders"
        " share, or an address of a file system that fsspec reaches without an event loop",
        shown="{DATA_DIR}/files",
    )
    max_file_bytes: int = _setting(
        _whole(1024, 1 << 33), 200 << 20, "largest file that can be uploaded; beyond it 413"
    )
    file_ttl_s: float = _setting(
        _seconds(1, 315_360_000),
        2_592_000.0,
        "time that batches and their results are kept after their end, and files of batches",
    )
    result_ttl_s: float = _setting(
        _seconds(1, 31_536_000), 86_400.0, "time that a finished job's record is kept"
    )
    cache_ttl_s: float = _setting(
        _seconds(0, 31_536_000), 3600.0, "time that a deterministic result is reused; 0 never"
    )
    cache_max_entries: int = _setting(
        _whole(0, 10_000_000), 10_000, "results in the cache; the oldest goes first"
    )
    require_worker: bool = _setting(
        _flag, False, "1 answers a submit with 503 while no worker serves its model"
    )
    drain_s: float = _setting(
        _seconds(0, 86_400), 30.0, "time that a worker told to stop lets its jobs finish"
    )
    web_processes: int = _setting(_whole(1, 256), 1, "processes of the HTTP front")
    url: str = _setting(
        _http_url, "", "where the `millrace` client finds the front", shown="http://{HOST}:{PORT}"
    )
    log_level: str = _setting(
        _one_of("debug", "info", "warning", "error"), "info", "least level that is logged"
    )
    log_format: str = _setting(
        _one_of("console", "json"), "console", "console for people, json for machines"
    )
    embedded_redis: bool = field(default=True, metadata={})

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> "Settings":
        """Read every ``MILLRACE_`` entry of ``mapping``.

        Raises:
            SettingsError: naming every bad value and every unknown name at once.
        """
        known = {PREFIX + f.name.upper(): f for f in fields(cls) if "parse" in f.metadata}
        wrong: list[str] = []
        values: dict[str, Any] = {}
        for name in sorted(n for n in mapping if n.startswith(PREFIX)):
            if name not in known:
                wrong.append(f"{name} is not a setting of Millrace")
                continue
            try:
                values[known[name].name] = known[name].metadata["parse"](mapping[name])
            except ValueError as error:
                secret = known[name].metadata["parse"] is _redis_url  # it may hold a password
                wrong.append(f"{name} {error}" if secret else f"{name}={mapping[name]!r} {error}")
        if values.get("min_replicas") and "redis_url" not in values:
            wrong.append("MILLRACE_MIN_REPLICAS needs MILLRACE_REDIS_URL: `up` starts no replica")
        if wrong:
            raise SettingsError("; ".join(wrong))
        plain = cls(**values)
        derived: dict[str, Any] = {
            "redis_url": f"redis://127.0.0.1:{plain.redis_port}/0",
            "models_dir": plain.data_dir / "models",
            "files_url": str(plain.data_dir / "files"),
            "url": f"http://{_reachable(plain.host)}:{plain.port}",
            "embedded_redis": "redis_url" not in values,
        }
        return cls(**{**derived, **values})

    @classmethod
    def documentation(cls) -> list[tuple[str, str, str]]:
        """Rows of (environment name, default, meaning), in the order of the fields."""
        return [
            (
                PREFIX + f.name.upper(),
                f.metadata["shown"] or _written(f.default),
                f.metadata["meaning"],
            )
            for f in fields(cls)
            if "parse" in f.metadata
        ]


def _reachable(host: str) -> str:
    """The address on which a listener on ``host`` is reached from its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)
