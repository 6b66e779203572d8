"""Hints are published in the background, and their loss harms nobody."""

import json
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract.queues import TASK_NAME, HintPublisher
from contract.settings import Settings
from tests.support.jobs import QUEUE
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

AT_ONCE_S = 0.25


@pytest.fixture
def settings(own_redis: RedisServer) -> Settings:
    return Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url})


@pytest.fixture
def hints(settings: Settings) -> HintPublisher:
    return HintPublisher(settings)


def test_as_many_hints_arrive_as_were_asked_for(
    hints: HintPublisher, own_redis: RedisServer
) -> None:
    for _ in range(3):
        hints.publish(QUEUE)
    hints.publish(QUEUE, 4)
    hints.publish("other")
    eventually(lambda: (own_redis.client().llen(QUEUE), own_redis.client().llen("other")) == (7, 1))


def test_each_hint_is_a_celery_message_with_ids_of_its_own(
    hints: HintPublisher, own_redis: RedisServer
) -> None:
    redis: Any = own_redis.client()
    hints.publish(QUEUE, 3)
    eventually(lambda: redis.llen(QUEUE) == 3)
    messages = [json.loads(each) for each in redis.lrange(QUEUE, 0, -1)]
    assert {each["headers"]["task"] for each in messages} == {TASK_NAME}
    assert len({each["headers"]["id"] for each in messages}) == 3
    assert len({each["properties"]["delivery_tag"] for each in messages}) == 3
    assert {each["properties"]["delivery_info"]["routing_key"] for each in messages} == {QUEUE}


def test_a_redis_that_is_gone_keeps_nobody_waiting_and_hints_go_on_after_it(
    hints: HintPublisher, own_redis: RedisServer
) -> None:
    hints.publish(QUEUE)
    eventually(lambda: own_redis.client().llen(QUEUE) == 1)
    own_redis.kill()
    with capture_logs() as logs:
        began_s = time.monotonic()
        for _ in range(2000):
            hints.publish(QUEUE)
        assert time.monotonic() - began_s < AT_ONCE_S
        eventually(lambda: logs, timeout_s=30)
    own_redis.start()
    before = own_redis.client().llen(QUEUE)
    assert before == 1

    def arrives() -> bool:
        hints.publish(QUEUE)
        return int(own_redis.client().llen(QUEUE)) > before

    eventually(arrives, timeout_s=30, every_s=0.1)
    assert own_redis.client().llen(QUEUE) < 2000
    assert {line["event"] for line in logs} == {"hint.lost"}
