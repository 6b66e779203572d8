"""What Celery's own thread in a worker does when Redis is gone."""

import time

from contract.queues import make_celery
from contract.settings import Settings
from tests.support.redis_server import RedisServer
from workers.worker_events import WorkerEvents


def test_an_event_that_cannot_be_sent_keeps_nobody_waiting(own_redis: RedisServer) -> None:
    app = make_celery(Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url}))
    events = WorkerEvents(app.connection_for_write(), hostname="worker", app=app)
    events.send("worker-heartbeat", retry=True)
    own_redis.kill()
    started_s = time.monotonic()
    events.send("worker-heartbeat", retry=True)
    assert time.monotonic() - started_s < 8
