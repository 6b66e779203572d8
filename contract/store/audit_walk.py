"""The looks that an audit takes: bounded scripts, and the walk over everything there is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract import keys
from contract.job import TERMINAL, JobState
from contract.store.connection import Connection, translated

# So many in one call that Redis answers within a few ms.
_RECORDS, _ENTRIES, _MEMBERS, _KEYS = 50, 1000, 250, 250

_LIVE = frozenset(JobState) - TERMINAL
_QUEUED = frozenset({JobState.QUEUED})
_RUNNING = frozenset({JobState.IN_PROGRESS})

#: Sets of jobs: the states of a job that belongs in one, and the field of its record that names
#: the set's owner (the last part of the key).
SETS: Mapping[keys.Key, tuple[frozenset[JobState], str]] = {
    keys.DEAD: (frozenset({JobState.FAILED}), ""),
    keys.DEADLINES: (_LIVE, ""),
    keys.EXPIRING: (TERMINAL, ""),
    keys.FOLLOWERS: (_QUEUED, "leader"),
    keys.FOLLOWING: (_QUEUED, "queue"),
    keys.LEASES: (_RUNNING, ""),
    keys.PENDING: (_QUEUED, "queue"),
    keys.RETRYING: (_QUEUED, "queue"),
    keys.RUNNING: (_RUNNING, "worker"),
    keys.STATE: (frozenset(JobState), "state"),
    keys.SUSPECTS: (_QUEUED, "queue"),
}

#: Families whose keys end by themselves.
_ENDLESS = (
    "none", keys.UNTIL_REAPED, keys.EVENTS.ttl, keys.INPUT.ttl, keys.JOB.ttl, keys.FILE.ttl,
    keys.BATCH.ttl,
)  # fmt: skip
MORTAL = frozenset(family for family in keys.ALL if family.ttl not in _ENDLESS)

#: Families whose keys say, by being there, that something else is.
TELLING = frozenset(
    {
        keys.EVENTS, keys.FOLLOWING, keys.INPUT, keys.JOB, keys.LEADER, keys.PENDING,
        keys.RETRYING, keys.RUNNING, keys.SERVING, keys.SUSPECTS,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A script that looks at subjects, its first arguments, and the key that they are found in."""

    script: str
    arguments: tuple[Any, ...]
    most: int
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What a check found wrong with a subject, at the moment of one call."""

    check: Check
    kind: str
    subject: str


def look(connection: Connection, check: Check, subjects: Sequence[str]) -> set[Suspicion]:
    """What is wrong with ``subjects`` now, of which there are at most ``check.most``."""
    rows: list[Any] = []
    if check.script == "audit_streams":
        done, start, ended = 0, "-", 0
        while done < len(subjects):
            more, start, ended, found = connection.run(
                check.script, *check.arguments, start, ended, *subjects[done:]
            )
            done += more
            rows += found
    else:
        rows = connection.run(check.script, *check.arguments, *subjects)
    return {Suspicion(check=check, kind=kind, subject=subject) for kind, subject in rows}


def walk(connection: Connection, lease_ms: int) -> Iterator[tuple[Check, list[str]]]:
    """Every check that there is to make of the jobs that are indexed now, and of all keys."""
    records = Check(script="audit_records", arguments=(lease_ms,), most=_RECORDS)
    streams = Check(script="audit_streams", arguments=(_ENTRIES,), most=_RECORDS)
    for ids in _indexed(connection):
        yield records, ids
        yield streams, ids
    for family, rests in _families(connection):
        prefix = _prefix(family)
        if family in TELLING or family in MORTAL:
            arguments = (family.name, prefix, int(family in MORTAL))
            yield Check(script="audit_keys", arguments=arguments, most=_KEYS, where=prefix), rests
        if family in SETS:
            for rest in rests:
                yield from _members(connection, family, rest)
    yield Check(script="audit_hints", arguments=(lease_ms,), most=1), []


def _indexed(connection: Connection) -> Iterator[list[str]]:
    with translated():
        newest: Any = connection.redis.zrange(keys.INDEX(), -1, -1, withscores=True)
    after, last = "-inf", newest[0][1] if newest else 0
    while True:
        with translated():
            page: Any = connection.redis.zrangebyscore(
                keys.INDEX(), after, last, start=0, num=_RECORDS, withscores=True
            )
        if not page:
            return
        yield [job_id for job_id, _ in page]
        after = f"({page[-1][1]:.0f}"


def _families(connection: Connection) -> Iterator[tuple[keys.Key, list[str]]]:
    """All keys, a page at a time, by family; each by what follows the family's prefix."""
    prefixes = {_prefix(family): family for family in keys.ALL if family.type != "channel"}
    cursor = 0
    while True:
        with translated():
            answer: Any = connection.redis.scan(cursor, match="mr:*", count=_KEYS)
        cursor, page = answer
        found: dict[keys.Key, list[str]] = {}
        for name in page:
            prefix = name if name in prefixes else ":".join(name.split(":", 2)[:2]) + ":"
            if prefix in prefixes:
                found.setdefault(prefixes[prefix], []).append(name[len(prefix) :])
        for family, rests in found.items():
            for first in range(0, len(rests), _KEYS):
                yield family, rests[first : first + _KEYS]
        if cursor == 0:
            return


def _members(
    connection: Connection, family: keys.Key, owner: str
) -> Iterator[tuple[Check, list[str]]]:
    name = _prefix(family) + owner
    states, field = SETS[family]
    arguments = (name, f",{','.join(sorted(states))},", field, owner)
    check = Check(script="audit_members", arguments=arguments, most=_MEMBERS, where=name)
    scan: Any = connection.redis.sscan if family is keys.RUNNING else connection.redis.zscan
    cursor = 0
    while True:
        with translated():
            cursor, page = scan(name, cursor, count=_MEMBERS)
        members = list(page) if family is keys.RUNNING else [member for member, _ in page]
        for first in range(0, len(members), _MEMBERS):
            yield check, members[first : first + _MEMBERS]
        if cursor == 0:
            return


def _prefix(family: keys.Key) -> str:
    return family.template.partition("{}")[0]
