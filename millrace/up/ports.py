"""Whether an address can be listened on."""

import errno
import socket
from contextlib import closing

from contract.errors import SettingsError
from millrace.up.errors import PortInUseError


def is_listening(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with closing(socket.create_connection((host, port), timeout_s)):
            return True
    except OSError:
        return False


def require_free(host: str, port: int, *, setting: str, use: str) -> None:
    """Make sure that ``host:port`` can be listened on, for ``use``; ``setting`` changes it.

    Raises:
        PortInUseError: another process has it, or this user may not.
        SettingsError: the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise SettingsError(f"MILLRACE_HOST={host!r} is no address: {error}") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"{host} is not an address of this machine") from error
        if error.errno == errno.EACCES:
            why = "needs privileges that this user lacks: set a port above 1023"
            raise PortInUseError(f"port {port}, for {use}, {why} with {setting}") from error
        raise PortInUseError(
            f"port {port}, for {use}, is taken by another program: stop it, or set {setting} to a"
            " free port"
        ) from error
