"""What can be known about a Redis or Valkey, and whether it may hold jobs."""

from dataclasses import dataclass
from typing import Any

from contract.errors import StoreUnavailableError
from contract.redis_address import RedisAddress
from contract.settings import Settings
from millrace.up.errors import StoreUnfitError

LEAST_VERSION = (6, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """A server's answer to INFO, which managed servers allow too; None where it does not say."""

    name: str
    version: str
    pid: int | None
    append_only: bool | None
    eviction: str | None
    replicas: int | None
    refusal: str
    """Why it takes no writes, as far as INFO tells; "" when it takes them."""


def read_facts(url: str) -> RedisFacts:
    """Ask the server. Raises StoreUnavailableError naming the address, without its password."""
    from contract.store import Connection
    from contract.store.connection import translated

    client = Connection(url).redis
    try:
        with translated():
            info: dict[str, Any] = client.info()
    except StoreUnavailableError as error:
        raise StoreUnavailableError(f"{error.detail} (at {public_address(url)})") from error
    finally:
        client.close()
    append_only, pid = info.get("aof_enabled"), info.get("process_id")
    replicas = info.get("connected_slaves")
    return RedisFacts(
        name="Valkey" if info.get("server_name") == "valkey" else "Redis",
        version=str(info.get("valkey_version") or info.get("redis_version") or "0"),
        pid=None if pid is None else int(pid),
        append_only=None if append_only is None else bool(int(append_only)),
        eviction=info.get("maxmemory_policy"),
        replicas=None if replicas is None else int(replicas),
        refusal=_refusal(info),
    )


def _refusal(info: dict[str, Any]) -> str:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if 0 < limit <= used:
        return f"its memory is full ({used / 1e6:.0f} MB of maxmemory {limit / 1e6:.0f} MB)"
    if info.get("aof_last_write_status", "ok") != "ok":
        return "it cannot write its append-only file: its disk may be full"
    return ""


def require_fit(facts: RedisFacts, settings: Settings) -> list[str]:
    """Warnings about the server of ``settings``, which may hold jobs; each is "what; advice".

    Raises:
        StoreUnfitError: it is too old, or may drop keys.
    """
    where = f"{facts.name} {facts.version} at {public_address(settings.redis_url)}"
    if version_tuple(facts.version) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise StoreUnfitError(f"{where} is too old: {least} or newer is needed")
    if facts.eviction not in (None, "noeviction"):
        raise StoreUnfitError(
            f"{where} drops keys when memory is short (maxmemory-policy {facts.eviction}), so it"
            " would lose jobs: set maxmemory-policy noeviction"
        )
    warnings = []
    if facts.append_only is False:
        warnings.append(
            f"{where} has no append-only file: jobs are lost when it restarts; set appendonly yes"
        )
    if facts.replicas is not None and facts.replicas < settings.min_replicas:
        warnings.append(
            f"{where} has {facts.replicas} replicas: every submit gets 503; add some, or lower"
            f" MILLRACE_MIN_REPLICAS={settings.min_replicas}"
        )
    return warnings


def version_tuple(version: str) -> tuple[int, ...]:
    """``7.0.15`` as (7, 0, 15); other characters count as the end."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def public_address(url: str) -> str:
    """The URL without user and password."""
    return RedisAddress.parse(url).public
