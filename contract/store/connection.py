"""One connection pool to Redis, its scripts, and the translation of its errors."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from contract.errors import StoreUnavailableError
from contract.keys import lua_functions
from contract.store.identity import StoreIdentity

#: Refusals that say something of the server's state, not of our command.
#: Redis 6.2 wraps those that a script meets in another error, so all are looked for inside.
_SERVER_STATES = (
    "MISCONF", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "WRONGPASS", "READONLY", "BUSY ",
    "OOM command not allowed",
)  # fmt: skip

#: What the network says when nobody at the other end says anything.
_UNREACHABLE = {
    errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN,
}  # fmt: skip

SOCKET_TIMEOUT_S = 5.0


@contextmanager
def translated() -> Iterator[None]:
    """Turn a failure of Redis into StoreUnavailableError; an error of ours stays what it is."""
    try:
        yield
    except (OutOfMemoryError, ReadOnlyError) as error:
        raise StoreUnavailableError(f"Redis refuses to write: {error}") from error
    except ResponseError as error:
        if any(state in str(error) for state in _SERVER_STATES):
            raise StoreUnavailableError(f"Redis refuses to work: {error}") from error
        raise
    except RedisError as error:
        raise StoreUnavailableError(
            f"Redis did not answer: {error}", silent=_is_silence(error)
        ) from error


def _is_silence(error: RedisError) -> bool:
    """Whether nothing came back at all, as from behind a cut cable; a closed port is an answer."""
    if isinstance(error, (RedisTimeoutError, MasterNotFoundError)):
        return True
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        return True  # the name server is behind the same cable
    return cause is not None and cause.errno in _UNREACHABLE


class Connection:
    """A pool of connections to one Redis, with every script of ``lua/`` ready to call.

    Commands are retried by redis-py after a broken connection, which is why every script is
    safe to repeat.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis = self.open(None)
        library = lua_functions() + _source("prelude")
        self._scripts = {
            name: self.redis.register_script(library + _source(name)) for name in _names()
        }
        self.identity = StoreIdentity(self.run)

    def open(self, name: str | None) -> "redis.Redis":
        """A client of its own, whose connections carry ``name`` in ``CLIENT LIST``."""
        return redis.Redis.from_url(
            self.url,
            client_name=name,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=3,
            socket_keepalive=True,
            health_check_interval=15,
            # A broken connection is tried again at once; a server that does not answer in time is
            # not, or a caller would wait for several times that time.
            retry=Retry(
                ExponentialWithJitterBackoff(base=0.02, cap=0.3),
                retries=3,
                supported_errors=(RedisConnectionError,),
            ),
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """Call a script by its file name.

        Raises:
            StoreUnavailableError: Redis did not answer, or refused to write.
        """
        with translated():
            return self._scripts[script](args=[_plain(a) for a in arguments])


def _plain(argument: Any) -> Any:
    return "" if argument is None else argument


def _names() -> list[str]:
    files = resources.files("contract.store").joinpath("lua").iterdir()
    return [f.name[:-4] for f in files if f.name.endswith(".lua") and f.name != "prelude.lua"]


def _source(name: str) -> str:
    return resources.files("contract.store").joinpath("lua", f"{name}.lua").read_text("utf-8")
