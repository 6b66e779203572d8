"""MILLRACE_REDIS_URL, taken apart."""

import pytest

from contract.queues import make_celery
from contract.redis_address import RedisAddress
from contract.settings import Settings

SENTINELS = "redis+sentinel://me:p%40ss@one,two:5,[::1]:7/the%20primary/3"


def test_sentinels_are_named_with_the_primary_and_the_credentials_of_its_nodes() -> None:
    address = RedisAddress.parse(SENTINELS)
    assert address.hosts == (("one", 26379), ("two", 5), ("::1", 7))
    assert (address.primary, address.db) == ("the primary", 3)
    assert (address.user, address.password) == ("me", "p@ss")


def test_what_is_shown_of_an_address_has_no_credentials() -> None:
    for url in (SENTINELS, "rediss://me:p%40ss@one:5/3?ssl_cert_reqs=none"):
        address = RedisAddress.parse(url)
        for shown in (address.public, repr(address)):
            assert "me:" not in shown
            assert "ss@" not in shown
            assert "one" in shown


def test_one_server_is_handed_on_as_it_was_written() -> None:
    url = "rediss://me:p%40ss@one/3?ssl_cert_reqs=none"
    address = RedisAddress.parse(f" {url} ")
    assert (address.hosts, address.primary) == ((("one", 6379),), None)
    assert address.url == address.broker_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://one", "redis://", "redis://one,two/0", "redis://one:port", "redis+sentinel://one",
        "redis+sentinel:///primary", "redis+sentinel://one,/primary", "redis+sentinel://one/p/x",
        "redis+sentinel://one/p?x=1", "",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must look like redis://HOST:PORT/DB"):
        RedisAddress.parse(url)


def test_celery_finds_the_same_primary_behind_the_same_sentinels() -> None:
    settings = Settings.from_mapping({"MILLRACE_REDIS_URL": SENTINELS})
    with make_celery(settings).connection_for_read() as connection:
        assert len(connection.alt) == 3
        assert (connection.hostname, connection.port) == ("one", 26379)
        assert (connection.userid, connection.password) == ("me", "p@ss")
        assert connection.virtual_host == "3"
        assert (connection.transport_options or {})["master_name"] == "the primary"
        assert "ss@" not in connection.as_uri()
