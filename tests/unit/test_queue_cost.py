"""What the queue's benchmark does with the times that it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.queue_cost.__main__ import processor_time, table
from benchmarks.queue_cost.figures import MEASURES, best, percentile, ratios, summarize
from benchmarks.queue_cost.http_bursts import on_lines
from benchmarks.queue_cost.http_line import Line
from benchmarks.queue_cost.subjects import Work, choose, each_timed, timed
from benchmarks.queue_cost.worker import NO_OP, SLEEP_50_MS, Handler

NO_OPS = MEASURES[0]
SUBMITS = MEASURES[2]
ROWS = [
    {"subject": "Millrace, HTTP", "figures": {"no-op": 100.0, "submit p50": 2.0}},
    {"subject": "Millrace, store", "figures": {"no-op": 400.0, "submit p50": 0.5}},
    {"subject": "Celery, prefork", "figures": {"no-op": 200.0, "submit p50": 1.0}},
    {"subject": "Millrace, HTTP", "figures": {"no-op": 140.0, "submit p50": 4.0}},
    {"subject": "Millrace, HTTP", "figures": {"no-op": 120.0, "submit p50": 3.0}},
]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [3.0, 1.0, 2.0, 100.0]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 3, 100, 100]


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_summary_has_the_median_and_the_extremes_of_each_subject() -> None:
    spread = summarize(ROWS)["Millrace, HTTP"]["no-op"]
    assert (spread.median, spread.low, spread.high, spread.rounds) == (120, 100, 140, 3)


def test_the_best_is_the_highest_rate_and_the_lowest_time() -> None:
    summary = summarize(ROWS)
    assert best(summary, NO_OPS, "Millrace") == ("Millrace, store", 400.0)
    assert best(summary, SUBMITS, "Millrace") == ("Millrace, store", 0.5)
    assert best(summary, NO_OPS, "Ray") is None


def test_a_ratio_above_one_is_one_that_we_win_whatever_the_measure() -> None:
    found = {row["measure"]: row["ratio"] for row in ratios(summarize(ROWS), "Millrace", ["Cel"])}
    assert found == {"no-op": 2.0, "submit p50": 2.0}


def test_the_table_names_what_is_missing_and_shows_what_was_not_measured() -> None:
    lines = table(summarize(ROWS), {"ray": "not installed"})
    assert lines[-1].split() == ["ray", "not", "installed"]
    assert "120 (100..140)" in lines[1]
    assert lines[1].split()[-1] == "-"


def test_processor_time_is_told_by_process_and_in_all() -> None:
    figures = {"no-op": 1.0, "no-op: front CPU ms a job": 0.5, "no-op: redis CPU ms a job": 0.25}
    lines = processor_time(summarize([{"subject": "Millrace", "figures": figures}]))
    assert lines[1].split() == ["Millrace", "front", "0.50", "redis", "0.25", "in", "all", "0.75"]


def test_no_two_parts_of_a_round_share_a_prompt() -> None:
    work = Work(name="1.1", jobs=3, singles=1, hits=1, fsync="always")
    later = Work(name="1.2", jobs=3, singles=1, hits=1, fsync="always")
    texts = [*work.texts("a", 3), *work.texts("b", 3), *later.texts("a", 3)]
    assert len(set(texts)) == 9


def test_the_fastest_count_is_chosen_and_a_single_one_is_not_tried() -> None:
    assert choose((1, 2, 4), lambda count: -abs(count - 2)) == 2
    assert choose((7,), lambda _: 1 / 0) == 7


def test_a_burst_tells_its_rate_its_submits_and_what_each_process_took() -> None:
    clock = iter([{"redis": 1.0}, {"redis": 1.5}])
    burst = timed(10, lambda: [0.001, 0.002], lambda: next(clock))
    figures = burst.figures("no-op")
    assert figures["no-op: redis CPU ms a job"] == 50
    assert figures["submit p50"] == 2
    assert figures["no-op"] == 10 / burst.seconds


def test_calls_are_timed_one_by_one() -> None:
    taken_s = each_timed(2, lambda number: time.sleep(0.02 * number))
    assert taken_s[0] < 0.02 <= taken_s[1]


def test_a_handler_does_nothing_at_once_and_sleeps_for_its_time() -> None:
    engine = Handler(slots=1)
    try:
        for parameters, least_s in ((NO_OP, 0.0), (SLEEP_50_MS, 0.05)):
            told: list[str] = []
            started_s = time.perf_counter()
            run = engine.submit(
                engine.prompt({"prompt": "a"}, parameters),
                lambda text, _, told=told: told.append(text),
            )
            taken_s = time.perf_counter() - started_s
            assert run.done
            assert least_s <= taken_s < least_s + 0.04
            assert told == [run.result().text]
    finally:
        engine.close()


Answer = Callable[[bytes], Awaitable[bytes]]


async def served(answers: dict[bytes, bytes], use: Callable[[str], Awaitable[None]]) -> int:
    """Answer each request by its first line; the number of connections."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.readline():
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name == b"Content-Length" else length
            await reader.readexactly(length)
            writer.write(answers[b" ".join(head.split()[:2])])
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await use(f"http://127.0.0.1:{port}")
    return connections


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_a_line_carries_one_request_after_another() -> None:
    async def use(url: str) -> None:
        line = await Line.open(url)
        assert await line.ask("POST", "/jobs", {"a": "é"}) == {"id": 1}
        assert await line.ask("GET", "/jobs") == []
        line.close()

    answers = {b"POST /jobs": answer(202, b'{"id": 1}'), b"GET /jobs": answer(200, b"[]")}
    assert asyncio.run(served(answers, use)) == 1


def test_an_answer_in_chunks_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def use(url: str) -> None:
        line = await Line.open(url)
        assert await line.ask("GET", "/task") == {"id": "1"}
        assert await line.ask("GET", "/task") == {"id": "1"}
        line.close()

    chunks = b'6\r\n{"id":\r\n5\r\n "1"}\r\n0\r\n\r\n'
    assert asyncio.run(served({b"GET /task": head + chunks}, use)) == 1


def test_a_refusal_stops_the_benchmark_and_says_what_it_was() -> None:
    async def use(url: str) -> None:
        line = await Line.open(url)
        with pytest.raises(RuntimeError, match=r"429.*full"):
            await line.ask("POST", "/jobs", {})
        line.close()

    asyncio.run(served({b"POST /jobs": answer(429, b"full")}, use))


def test_a_stream_is_followed_to_an_event_and_then_to_its_end() -> None:
    parts = [b"event: status\n\n", b"event: token\n\n", b"event: done\n\n", b""]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def use(url: str) -> None:
        line = await Line.open(url)
        await line.follow("/events", b"event: token\n")
        assert b"event: done" in await line.rest()
        assert await line.ask("GET", "/jobs") == []
        line.close()

    answers = {b"GET /events": head + chunks, b"GET /jobs": answer(200, b"[]")}
    assert asyncio.run(served(answers, use)) == 1


def test_items_are_shared_among_the_lines_each_once() -> None:
    seen: list[int] = []

    async def call(line: Line, item: int) -> None:
        await line.ask("GET", "/jobs")
        seen.append(item)

    async def use(url: str) -> None:
        await on_lines(url, 3, range(10), call)

    assert asyncio.run(served({b"GET /jobs": answer(200, b"[]")}, use)) == 3
    assert sorted(seen) == list(range(10))
