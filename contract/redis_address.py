"""Where Redis is: one server, or the primary that a group of Sentinels names."""

import socket
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

SENTINEL_SCHEME = "redis+sentinel"
REDIS_PORT = 6379
SENTINEL_PORT = 26379

#: For the sockets to it: a machine that is gone without a word is noticed after 9 s, also by a
#: connection on which nothing is sent. By default that takes hours. Not every system has all.
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 3,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 9000,  # ms
    }.items()
    if hasattr(socket, name)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """MILLRACE_REDIS_URL, taken apart. Only ``url`` and ``broker_url`` hold the credentials.

    ``primary`` is the name by which Sentinels know the primary, and ``hosts`` are theirs; it is
    None where ``hosts`` is the one server itself.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    primary: str | None = None
    db: int = 0
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    url: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read a redis://, rediss:// or redis+sentinel:// URL.

        Raises:
            ValueError: it is none; the text does not repeat it, since it may hold a password.
        """
        try:
            return _parse(url)
        except ValueError:
            raise ValueError(
                "must look like redis://HOST:PORT/DB (or rediss://), or like"
                f" {SENTINEL_SCHEME}://HOST:PORT,HOST:PORT/NAME/DB, where NAME is that of the"
                " primary"
            ) from None

    @property
    def public(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{','.join(_written(*host) for host in self.hosts)}{self.path}"

    @property
    def broker_url(self) -> str:
        """The same for Celery, which has a way of its own to name Sentinels."""
        if self.primary is None:
            return self.url
        login = ""
        if self.user or self.password:
            login = f"{quote(self.user or '', safe='')}:{quote(self.password or '', safe='')}@"
        return ";".join(f"sentinel://{login}{_written(*each)}/{self.db}" for each in self.hosts)


def _parse(url: str) -> RedisAddress:
    parts = urlsplit(url.strip())
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    primary, _, db = parts.path.strip("/").partition("/")
    through_sentinels = parts.scheme == SENTINEL_SCHEME
    if through_sentinels and (not primary or parts.query):
        raise ValueError
    if not through_sentinels and (parts.scheme not in ("redis", "rediss") or "," in hosts):
        raise ValueError
    port = SENTINEL_PORT if through_sentinels else REDIS_PORT
    return RedisAddress(
        scheme=parts.scheme,
        hosts=tuple(_host(each, port) for each in hosts.split(",")),
        path=parts.path,
        primary=unquote(primary) if through_sentinels else None,
        db=int(db or 0) if through_sentinels else 0,
        user=unquote(user) or None,
        password=unquote(password) or None,
        url=url.strip(),
    )


def _host(written: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{written}")
    if not parts.hostname:
        raise ValueError
    return parts.hostname, parts.port or port


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
