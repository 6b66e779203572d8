"""Lists of records, read a page at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

from contract.keys import Key
from contract.store.connection import Connection, translated
from contract.store.rows import pairs

_ROWS_AT_ONCE = 100


def fields_of(flat: Sequence[str]) -> dict[str, str]:
    """What a script returns of HGETALL."""
    return dict(pairs(list(flat)))


def records(
    connection: Connection,
    index: str,
    record: Key,
    after: str | None,
    *,
    oldest_first: bool = False,
) -> Iterator[tuple[str, dict[str, str]]] | None:
    """The ids of ``index`` with their records, the newest first, from behind ``after``.

    None when ``after`` is not in the list.

    Raises:
        StoreUnavailableError: Redis did not answer.
    """
    redis: Any = connection.redis
    with translated():
        place = None if after is None else redis.zscore(index, after)
    if after is not None and place is None:
        return None

    def read() -> Iterator[tuple[str, dict[str, str]]]:
        edge, last = place, "+inf" if oldest_first else "-inf"
        while True:
            first = ("-inf" if oldest_first else "+inf") if edge is None else f"({edge:.0f}"
            find = redis.zrangebyscore if oldest_first else redis.zrevrangebyscore
            with translated():
                ids = find(index, first, last, start=0, num=_ROWS_AT_ONCE, withscores=True)
                pipeline = redis.pipeline(transaction=False)
                for name, _ in ids:
                    pipeline.hgetall(record(name))
                found = pipeline.execute()
            for (name, _), fields in zip(ids, found, strict=True):
                if fields:
                    yield name, fields
            if len(ids) < _ROWS_AT_ONCE:
                return
            edge = ids[-1][1]

    return read()
