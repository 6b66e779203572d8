"""Every transition in random order against a real server, with the invariants after each step."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from contract import keys
from contract.job import TERMINAL, TRANSITIONS, JobState
from contract.settings import Settings
from contract.store.audit import audit
from tests.support.redis_server import RedisServer
from tests.support.transitions import QUEUES, WORKERS, Transitions

pytestmark = pytest.mark.timeout(120)
FEW = 2  # of the suspects that may share a batch
WAITING = (keys.PENDING, keys.SUSPECTS, keys.RETRYING, keys.FOLLOWING)


class Invariants(Transitions):
    """What must hold after each step, and at the end."""

    @invariant()
    def every_job_is_in_its_one_place(self) -> None:
        places = self._places()
        records = self._records()
        running = {w: set(self.redis.smembers(keys.RUNNING(w))) for w in WORKERS}
        leases = set(self.redis.zrange(keys.LEASES(), 0, -1))
        deadlines = set(self.redis.zrange(keys.DEADLINES(), 0, -1))
        for job, record in records.items():
            state = JobState(record["state"])
            runs_on = [w for w, held in running.items() if job in held]
            if state is JobState.QUEUED:
                [(family, queue)] = places.pop(job)
                assert queue == record["queue"]
                if family in (keys.PENDING, keys.SUSPECTS):
                    assert (family is keys.SUSPECTS) == (int(record["losses"]) > 0)
            assert job not in places
            assert (job in leases) == (state is JobState.IN_PROGRESS)
            assert runs_on == ([record["worker"]] if state is JobState.IN_PROGRESS else [])
            assert state not in TERMINAL or job not in deadlines
            assert ("finished_ms" in record) == (state in TERMINAL)
            assert ("output" in record) == (state is JobState.COMPLETED)
            if state in (JobState.COMPLETED, JobState.CANCELLED):
                assert "error" not in record
        assert not places
        assert leases <= set(records)
        for held in running.values():
            losses = [int(records[job]["losses"]) for job in held]
            alone = max(losses, default=0) > 1
            assert len(losses) == 1 if alone else sum(losses) <= FEW

    @invariant()
    def the_indexes_say_what_the_records_say(self) -> None:
        records = self._records()
        for state in JobState:
            indexed = set(self.redis.zrange(keys.STATE(state), 0, -1))
            assert indexed == {job for job, r in records.items() if r["state"] == state}
        assert set(self.redis.zrange(keys.INDEX(), 0, -1)) == set(records)
        dead = {job for job, r in records.items() if r.get("dead") == "1"}
        assert set(self.redis.zrange(keys.DEAD(), 0, -1)) == dead
        ended = {job for job, r in records.items() if JobState(r["state"]) in TERMINAL}
        assert set(self.redis.zrange(keys.EXPIRING(), 0, -1)) == ended

    @invariant()
    def transitions_are_legal_and_each_life_ends_once(self) -> None:
        events = self.store.read_events(dict.fromkeys(self.jobs, "0-0"))
        for job, record in self._records().items():
            state, attempt = JobState(record["state"]), int(record["attempt"])
            before = self.seen.get(job)
            if before is not None:
                assert state is before[0] or state in TRANSITIONS[before[0]], (before, state)
                assert attempt >= before[1]
            self.seen[job] = (state, attempt)
            ends = sum(event.kind == "done" for event in events[job])
            assert ends == self.redriven[job] + (state in TERMINAL)

    @invariant()
    def followers_wait_for_a_leader_that_lives(self) -> None:
        records = self._records()
        live = {j: r for j, r in records.items() if JobState(r["state"]) not in TERMINAL}
        leaders = {
            name.removeprefix(keys.LEADER("")): self.redis.get(name)
            for name in self.redis.scan_iter(keys.LEADER("*"))
        }
        for fingerprint, leader in leaders.items():
            assert live[leader]["fingerprint"] == fingerprint
            assert "leader" not in live[leader]
        following = {j: r["leader"] for j, r in live.items() if "leader" in r}
        assert not any("leader" in r for j, r in records.items() if j not in live)
        for follower, leader in following.items():
            assert leaders[live[follower]["fingerprint"]] == leader
            assert float(live[leader]["rank"]) <= float(live[follower]["rank"])
        for name in self.redis.scan_iter(keys.FOLLOWERS("*")):
            leader = name.removeprefix(keys.FOLLOWERS(""))
            found = set(self.redis.zrange(name, 0, -1))
            assert found == {f for f, of in following.items() if of == leader}

    def teardown(self) -> None:
        """Whatever has happened, all that waits can be brought to an end by one worker."""
        self._audit()
        for name in WORKERS:
            self.beat(name)
            self._release_all(name)
        for _ in range(4 * len(self.jobs) + 4):
            for queue in QUEUES:
                for job in self.redis.zrange(keys.RETRYING(queue), 0, -1):
                    self.redis.zadd(keys.RETRYING(queue), {job: 1})
            self.reap()
            while self._claim("w1", QUEUES):
                worker, claim = self.claims[-1]
                assert self.workers[worker].finish(claim, {"text": "done"}, {})
        assert all(self.store.get(job).finished for job in self.jobs)
        self.every_job_is_in_its_one_place()
        left = [*self.redis.scan_iter(keys.LEADER("*")), *self.redis.scan_iter(keys.FOLLOWERS("*"))]
        assert left == []
        self._audit()

    def _audit(self) -> None:
        found = audit(self.connection, self.settings, settle_s=0).findings
        # Nobody publishes hints here.
        assert [each for each in found if each.kind != "hints"] == []

    def _records(self) -> dict[str, dict[str, str]]:
        pipeline = self.redis.pipeline(transaction=False)
        for job in self.jobs:
            pipeline.hgetall(keys.JOB(job))
        records = dict(zip(self.jobs, pipeline.execute(), strict=True))
        assert all(records.values()), "an accepted job has no record"
        return records

    def _places(self) -> dict[str, list[tuple[keys.Key, str]]]:
        places: dict[str, list[tuple[keys.Key, str]]] = {}
        for family in WAITING:
            for queue in QUEUES:
                for job in self.redis.zrange(family(queue), 0, -1):
                    places.setdefault(job, []).append((family, queue))
        return places


def test_no_order_of_transitions_loses_repeats_or_strands_a_job(
    redis_server: RedisServer, settings: Settings
) -> None:
    machine: Callable[[], Invariants] = lambda: Invariants(redis_server, settings)  # noqa: E731
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # any callable that makes one will do
        settings=hypothesis_settings(
            max_examples=60, stateful_step_count=40, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
