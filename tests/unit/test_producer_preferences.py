"""Of Prefer, wait is understood and the rest is ignored."""

import pytest

from producer.preferences import read_wait
from producer.request_schemas import PreferHeaders, WaitQuery


def headers(prefer: str | None) -> PreferHeaders:
    return PreferHeaders.model_validate({} if prefer is None else {"Prefer": prefer})


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, wait=7; foo=bar", 7),
        ('Wait="9"', 9),
        ("wait = 0", 0),
        ("wait=100", 60),
        ("wait=999999999", 60),
    ],
)
def test_a_wait_is_understood_and_capped(prefer: str, seconds: int) -> None:
    wait = read_wait(None, headers(prefer))

    assert wait.seconds == seconds
    assert wait.headers == {"Preference-Applied": f"wait={seconds}"}


@pytest.mark.parametrize("prefer", [None, "", "wait", "wait=", "wait=-1", "wait=1.5", "waits=3"])
def test_anything_else_is_no_wait(prefer: str | None) -> None:
    wait = read_wait(None, headers(prefer))

    assert wait.seconds is None
    assert wait.headers == {}


def test_the_query_goes_before_the_header() -> None:
    wait = read_wait(WaitQuery.model_validate({"wait": "0.25"}), headers("wait=5"))

    assert wait.seconds == 0.25
    assert wait.headers == {}
