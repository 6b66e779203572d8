"""What the scaling benchmark makes of Redis's own account, and of its fleet's."""

import pytest

from benchmarks.scaling_calls import BARE, PIPELINED, Cost, of_a_job, turn_us
from benchmarks.scaling_fleet import Point, Shape, efficiency, shares
from benchmarks.scaling_jobs import PROMPT_BYTES, SIMULATED, job_maker
from benchmarks.scaling_redis import Reading, Spent, between, calls_of
from benchmarks.scaling_waiting import Backlog, Latency


def reading(**changes: object) -> Reading:
    fields = {"at_s": 0.0, "cpu_s": 0.0, "calls": {}, "used_bytes": 0, **changes}
    return Reading(**fields)  # type: ignore[arg-type]


def spent(cpu_s: float = 0.0, **commands: int) -> Spent:
    return Spent(seconds=1.0, cpu_s=cpu_s, commands=commands, grown_bytes=0)


def test_calls_are_read_by_command_from_redis_own_statistics() -> None:
    stats = {"cmdstat_evalsha": {"calls": 3, "usec": 9}, "cmdstat_client|list": {"calls": 1}}
    assert calls_of({**stats, "errorstat_ERR": {"count": 1}}) == {"evalsha": 3, "client|list": 1}


def test_what_lies_between_two_readings_is_their_difference() -> None:
    before = reading(at_s=1.0, cpu_s=0.5, calls={"hget": 5, "get": 1}, used_bytes=100)
    after = reading(at_s=3.0, cpu_s=0.75, calls={"hget": 9, "get": 1, "zadd": 2}, used_bytes=160)
    assert between(before, after) == Spent(
        seconds=2.0, cpu_s=0.25, commands={"hget": 4, "zadd": 2}, grown_bytes=60
    )


def test_calls_of_scripts_are_told_apart_from_the_commands_in_them() -> None:
    found = spent(evalsha=2, eval=1, hget=10, zadd=4, info=3)
    assert (found.scripts, found.others) == (3, 14)


@pytest.mark.parametrize(
    ("workers", "processes", "expected"),
    [(100, 4, [25, 25, 25, 25]), (10, 4, [3, 3, 2, 2]), (1, 4, [1]), (3, 4, [1, 1, 1])],
)
def test_workers_are_spread_evenly_and_no_process_is_idle(
    workers: int, processes: int, expected: list[int]
) -> None:
    assert shares(workers, processes) == expected


def test_efficiency_is_against_as_many_times_one_worker() -> None:
    def point(workers: int, seconds: float) -> Point:
        return Point(
            workers=workers, jobs=48 * workers, seconds=seconds, spent=spent(), fleet_cpu_s=0.0
        )

    one = point(1, 24.0)
    assert efficiency(one, one) == 1
    assert efficiency(point(100, 30.0), one) == pytest.approx(0.8)


def test_the_first_jobs_put_the_slots_out_of_step_and_there_is_work_until_the_end() -> None:
    shape = Shape(slots=16, tokens=40, token_s=0.2, waves=3)
    lengths = shape.lengths(10)
    first, rest = lengths[:160], lengths[160:]
    assert {first.count(tokens) for tokens in range(1, 41)} == {4}
    assert set(rest) == {40}
    assert len(rest) > 160 * (shape.waves + 1)
    assert shape.job_s == pytest.approx(8)


def test_every_job_has_its_own_prompt_of_the_same_size() -> None:
    make = job_maker(1, lambda queue: "a hint")
    jobs = [make() for _ in range(20)]
    prompts = {job.input["messages"][0]["content"] for job in jobs}
    assert {len(prompt.encode()) for prompt in prompts} == {PROMPT_BYTES}
    assert len(prompts) == len({job.id for job in jobs}) == len({job.fingerprint for job in jobs})
    assert len(prompts) == 20
    assert {job.queue for job in jobs} == {SIMULATED.queue}


def test_the_cost_of_a_job_adds_up_its_calls_and_its_share_of_the_beats() -> None:
    costs = {
        "submit, 1 worker": 90.0, "submit, 100 workers": 100.0, "send a hint": 10.0,
        "claim": 50.0, "publish a token": 4.5, "beat": 160.0, "finish and claim": 85.0,
        BARE: 41.0, PIPELINED: 1.0,
    }  # fmt: skip
    calls = {"publish a token": 1 / 16}
    rows = [
        Cost(name=name, unit="", redis_us=us, commands=1, calls=calls.get(name, 1))
        for name, us in costs.items()
    ]
    assert turn_us(rows) == 40
    tokens, beats = 40 * (4.5 - 2.5), 1 * (160 - 40)
    assert of_a_job(rows, tokens=40, seconds=8.0, slots=16) == 60 + 45 + tokens + beats


def test_a_job_is_charged_for_what_it_takes_beyond_its_prompt() -> None:
    backlog = Backlog(
        waiting=10, seconds=1, bytes_each=PROMPT_BYTES + 1200, hints=0, redis_cpu_s=0.1
    )
    assert backlog.beyond_the_prompt == 1200


def test_latencies_are_compared_at_their_worst() -> None:
    latency = Latency(call="submit", empty_p50=1, full_p50=1, empty_p99=2, full_p99=3)
    assert latency.ratio_p99 == 1.5
