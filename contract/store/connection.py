"""One connection pool to Redis, its scripts, and the translation of its errors."""

import errno
import queue
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from contract import keys
from contract.errors import StoreUnavailableError
from contract.keys import lua_functions
from contract.redis_address import KEEPALIVE, RedisAddress
from contract.store.identity import StoreIdentity
from contract.store.sentinels import PrimaryConnection, Sentinels

#: Refusals that say something of the server's state, not of our command.
#: Redis 6.2 wraps those that a script meets in another error, so all are looked for inside.
_SERVER_STATES = (
    "MISCONF", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "WRONGPASS", "READONLY", "BUSY ",
    "OOM command not allowed",
)  # fmt: skip

_REFUSALS = (
    MasterDownError, NoPermissionError, NoScriptError, OutOfMemoryError, ReadOnlyError,
)  # fmt: skip

#: What the network says when nobody at the other end says anything.
_UNREACHABLE = {
    errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN,
}  # fmt: skip

SOCKET_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 100
_TURN_S = 2.0  # for a free connection; a server that works frees one each millisecond


@contextmanager
def translated() -> Iterator[None]:
    """Turn a failure of Redis into StoreUnavailableError; an error of ours stays what it is."""
    try:
        yield
    except _REFUSALS as error:
        raise StoreUnavailableError(f"Redis refuses to work: {error}") from error
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
        if isinstance(cause, queue.Empty):
            return True  # every connection waits for an answer
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        return True  # the name server is behind the same cable
    return cause is not None and cause.errno in _UNREACHABLE


class Connection:
    """A pool of connections to Redis, with every script of ``lua/`` ready to call.

    That is one server, or the one that a group of Sentinels calls the primary.

    Commands are retried by redis-py after a broken connection, which is why every script is
    safe to repeat.
    """

    def __init__(self, url: str) -> None:
        self._address = RedisAddress.parse(url)
        self._sentinels = (
            None
            if self._address.primary is None
            else Sentinels(self._address.hosts, self._address.primary)
        )
        self.redis = self.open(None)
        self._scripts = {name: self.redis.register_script(_script(name)) for name in _names()}
        self.identity = StoreIdentity(self.run)

    def open(self, name: str | None) -> "redis.Redis":
        """A client of its own, whose connections carry ``name`` in ``CLIENT LIST``."""
        options: dict[str, Any] = {
            "client_name": name,
            "decode_responses": True,
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            "health_check_interval": 15,
            # A burst of callers waits its turn; without that, the next one after these fails.
            "max_connections": MAX_CONNECTIONS,
            "timeout": _TURN_S,
            # A broken connection is tried again at once; a server that does not answer in time is
            # not, or a caller would wait for several times that time.
            "retry": Retry(
                ExponentialWithJitterBackoff(base=0.02, cap=0.3),
                retries=3,
                supported_errors=(RedisConnectionError,),
            ),
        }
        address = self._address
        if self._sentinels is None:
            return redis.Redis.from_pool(
                redis.BlockingConnectionPool.from_url(address.url, **options)
            )
        pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
            connection_class=PrimaryConnection,
            sentinels=self._sentinels,
            db=address.db,
            username=address.user,
            password=address.password,
            **options,
        )
        return redis.Redis.from_pool(pool)

    def has_left(self, connection: Any) -> bool:
        """Whether ``connection`` is to a server that is known not to be the primary any more."""
        return (
            self._sentinels is not None
            and connection is not None
            and (connection.host, connection.port) != self._sentinels.latest
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """Call a script by its file name.

        Raises:
            StoreUnavailableError: Redis did not answer, or refused to write.
        """
        with translated():
            return self._scripts[script](args=[_plain(a) for a in arguments])

    def run_many(
        self, calls: Sequence[tuple[str, Sequence[Any]]], *, replicas: int, timeout_s: float
    ) -> tuple[list[Any], int]:
        """Call scripts one after another in one round trip; with ``replicas``, wait for them too.

        Returns:
            The answer of each call, or the StoreUnavailableError that it met; and how many replicas
            had all of it within ``timeout_s``.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        with translated():
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(2):
                for script, arguments in calls:
                    sha = self._scripts[script].sha
                    pipeline.evalsha(sha, 0, *(_plain(each) for each in arguments))
                if replicas:  # see run_replicated
                    pipeline.publish(keys.BARRIER(), "")
                    pipeline.wait(replicas, int(timeout_s * 1000))
                answers: list[Any] = pipeline.execute(raise_on_error=False)
                if not any(isinstance(each, NoScriptError) for each in answers):
                    break
                for script in {script for script, _ in calls}:
                    self.redis.script_load(self._scripts[script].script)
            if replicas and isinstance(answers[-1], Exception):
                raise answers[-1]
        reached = int(answers[-1]) if replicas else 0
        return [_answer_or_error(each) for each in answers[: len(calls)]], reached

    def run_replicated(
        self, script: str, *arguments: Any, replicas: int, timeout_s: float
    ) -> tuple[Any, int]:
        """Call a script and wait until ``replicas`` have what it wrote, and what it relied on.

        Returns:
            Its answer, and how many replicas had all of that within ``timeout_s``.

        Raises:
            StoreUnavailableError: Redis did not answer, or refused to write.
        """
        called = self._scripts[script]
        with translated():
            # WAIT speaks of what its own connection wrote. So all three go over one in one piece,
            # and when it breaks all three are repeated. The message is heard by nobody: it is a
            # write, takes no memory, and follows what an earlier call may have written.
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(2):
                pipeline.evalsha(called.sha, 0, *(_plain(a) for a in arguments))
                pipeline.publish(keys.BARRIER(), "")
                pipeline.wait(replicas, int(timeout_s * 1000))
                answers: list[Any] = pipeline.execute(raise_on_error=False)
                if not isinstance(answers[0], NoScriptError):
                    break
                self.redis.script_load(called.script)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers[0], int(answers[2])


def _answer_or_error(answer: Any) -> Any:
    if not isinstance(answer, Exception):
        return answer
    try:
        with translated():
            raise answer
    except StoreUnavailableError as error:
        return error


def _plain(argument: Any) -> Any:
    return "" if argument is None else argument


def _names() -> list[str]:
    files = resources.files("contract.store").joinpath("lua").iterdir()
    return [f.name[:-4] for f in files if f.name.endswith(".lua")]


def _script(name: str) -> str:
    """A whole script: the keys, the prelude, the parts that it names, and then itself.

    It runs as a function, so that whoever follows a job that it touched can be woken at its end.
    """
    body = _source(name)
    named = re.search(r"^-- PARTS +(.+)$", body, re.MULTILINE)
    parts = ["prelude", *(named[1].split(", ") if named else [])]
    library = [_source(f"parts/{part}") for part in parts]
    whole = f"local function script()\n{body}end\nlocal answer = script()\nring()\nreturn answer\n"
    return lua_functions() + "".join(library) + whole


def _source(path: str) -> str:
    return resources.files("contract.store").joinpath("lua", f"{path}.lua").read_text("utf-8")
