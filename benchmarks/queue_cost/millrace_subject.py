"""Millrace: through HTTP, in bulk, and without HTTP."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.queue_cost import http_bursts as http
from benchmarks.queue_cost.figures import in_ms
from benchmarks.queue_cost.stack import Stack
from benchmarks.queue_cost.store_bursts import StoreClient
from benchmarks.queue_cost.subjects import SLOTS, Work, each_timed, timed
from benchmarks.queue_cost.worker import NO_OP, SLEEP_50_MS
from contract.store import SUBMITS_AT_ONCE

HANDLERS = (("50 ms", SLEEP_50_MS), ("no-op", NO_OP))
"""By measure. The last one's submit times are those that are told."""

Send = Callable[[str, Sequence[http.Body]], Coroutine[Any, Any, None]]

_HIT_CONNECTIONS = 16
_WARM_UP = 200


DEFAULTS = {"SLOTS": str(SLOTS), "LOG_LEVEL": "warning"}
"""As the others: a Celery worker logs no single tasks unless it is told to."""


class Millrace:
    """One front and one worker. ``settings`` are ``MILLRACE_`` settings without the prefix."""

    missing = ""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = {**DEFAULTS, **settings}

    def turn(self, folder: Path, work: Work) -> Mapping[str, Mapping[str, float]]:
        """All ways on one stack, after a short burst of each."""
        with Stack(folder, fsync=work.fsync, settings=self._settings) as stack:
            self._warm_up(stack, work)
            return {
                "Millrace, HTTP": self._through_http(stack, work),
                "Millrace, HTTP in bulk": self._bursts(stack, work, "bulk", http.submit_in_bulk),
                "Millrace, store": self._without_http(stack, work, 1),
                "Millrace, store in bulk": self._without_http(stack, work, SUBMITS_AT_ONCE),
            }

    def _warm_up(self, stack: Stack, work: Work) -> None:
        bodies = [stack.body(text, NO_OP) for text in work.texts("warm-up", _WARM_UP)]
        asyncio.run(http.submit_and_wait(stack.url, bodies))

    def _through_http(self, stack: Stack, work: Work) -> dict[str, float]:
        found = self._bursts(stack, work, "", http.submit_and_wait)

        def bodies_of(part: str) -> list[http.Body]:
            return [stack.body(text, NO_OP) for text in work.texts(part, work.singles)]

        submits = asyncio.run(http.submits_s(stack.url, bodies_of("submit")))
        found |= {"submit p50": in_ms(submits, 0.5), "submit p99": in_ms(submits, 0.99)}
        single = asyncio.run(http.results_s(stack.url, bodies_of("single")))
        found["result p50"] = in_ms(single, 0.5)
        first = asyncio.run(http.first_tokens_s(stack.url, bodies_of("stream")))
        found["first token p50"] = in_ms(first, 0.5)
        return found | self._hits(stack, work)

    def _hits(self, stack: Stack, work: Work) -> dict[str, float]:
        known = stack.body(f"{work.name} known", NO_OP)
        asyncio.run(http.submit_and_wait(stack.url, [known]))
        alone = asyncio.run(http.hits_s(stack.url, known, work.singles, 1))
        started_s = time.perf_counter()
        asyncio.run(http.hits_s(stack.url, known, work.hits, _HIT_CONNECTIONS))
        seconds = time.perf_counter() - started_s
        return {"cache hit p50": in_ms(alone, 0.5), "cache hits": work.hits / seconds}

    def _bursts(self, stack: Stack, work: Work, part: str, send: Send) -> dict[str, float]:
        found: dict[str, float] = {}
        for measure, handler in HANDLERS:
            texts = work.texts(f"{part} {measure}", work.jobs)
            bodies = [stack.body(text, handler) for text in texts]
            found |= timed(
                work.jobs, partial(asyncio.run, send(stack.url, bodies)), stack.cpu_s
            ).figures(measure)
        return found

    def _without_http(self, stack: Stack, work: Work, at_once: int) -> dict[str, float]:
        client, part = StoreClient(stack, at_once), f"store {at_once}"
        client.burst(work.texts(f"{part} warm-up", _WARM_UP), NO_OP)
        found: dict[str, float] = {}
        for measure, handler in HANDLERS:
            texts = work.texts(f"{part} {measure}", work.jobs)
            burst = timed(work.jobs, partial(client.burst, texts, handler), stack.cpu_s)
            found |= burst.figures(measure)
        if at_once > 1:
            return found
        singles = work.texts(f"{part} single", work.singles)
        taken_s = each_timed(len(singles), lambda n: client.one(singles[n], NO_OP))
        return found | {"result p50": in_ms(taken_s, 0.5)}
