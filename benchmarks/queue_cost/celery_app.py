"""The peer: what people write today, a Celery task with a result backend on Redis.

``celery -A benchmarks.queue_cost.celery_app worker`` runs it, with these in its environment:

    PEER_REDIS_URL    broker and result backend
    PEER_ACKS_LATE    1 acknowledges a task when it has ended
"""

import os
import time
from typing import Any

from celery import Celery

TASK = "work"


def make_app(url: str, *, acks_late: bool) -> Celery:
    """Celery with its defaults."""
    app = Celery("peer", broker=url, backend=url, set_as_current=False)
    app.conf.task_acks_late = acks_late
    app.task(name=TASK)(work)
    return app


def work(number: int, seconds: float) -> int:
    """Sleep, and answer with the number."""
    if seconds:
        time.sleep(seconds)
    return number


app: Any = None
if "PEER_REDIS_URL" in os.environ:
    app = make_app(os.environ["PEER_REDIS_URL"], acks_late=os.environ.get("PEER_ACKS_LATE") == "1")
