"""Celery as transport: anonymous hints that there is work in a queue. They carry nothing else."""

import functools
import threading
import uuid
from collections import Counter
from typing import Any

import structlog
from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps

from contract.redis_address import KEEPALIVE, RedisAddress
from contract.settings import Settings

TASK_NAME = "millrace.run_next"
_MOST_DUE = 500  # hints of one queue that wait to be published
_ID = "00000000-0000-0000-0000-000000000000"  # in the place of ids that no two messages share

_log = structlog.get_logger(__name__)


def queue_name(model: str, digest: str) -> str:
    """The queue of one model version. The digest makes a worker with other files another queue."""
    return f"{model}.{digest[:12]}"


def make_celery(settings: Settings) -> Celery:
    """The Celery application that producers and workers share.

    The broker keeps no message that is being worked on (``ack_emulation`` off): a hint that is
    lost with its worker is replaced by the reaper, since the record says that the job waits.
    """
    address = RedisAddress.parse(settings.redis_url)
    app = Celery("millrace", broker=address.broker_url, set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "ack_emulation": False,
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            "health_check_interval": 5,
            **_sentinel_options(address),
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a refusal (full disk) must not end the worker
        task_acks_late=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _sentinel_options(address: RedisAddress) -> dict[str, Any]:
    if address.primary is None:
        return {}
    # By default each Sentinel that is gone would be tried again for several seconds.
    timeouts = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": None}
    return {"master_name": address.primary, "sentinel_kwargs": timeouts}


class HintPublisher:
    """Publishes hints, in the background: a Redis that goes away must not keep a caller waiting.

    A failure is logged and forgotten, since the reaper makes up for it. So is what exceeds the
    hints that may wait here for one queue.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = make_celery(settings)
        transport = self._app.connection_for_write()
        self._errors: tuple[type[BaseException], ...] = (
            OperationalError, OSError, *transport.connection_errors, *transport.channel_errors,
        )  # fmt: skip
        self._template = functools.cache(functools.partial(_template, self._app))
        self._lock = threading.Lock()
        self._due: Counter[str] = Counter()
        self._busy = False

    def message(self, queue: str) -> str:
        """One hint, as a submit sends it with its job."""
        return self._template(queue).replace(_ID, str(uuid.uuid4()))

    def publish(self, queue: str, count: int = 1) -> None:
        """Say ``count`` times that a job waits in ``queue``. Returns at once."""
        if count <= 0:
            return
        with self._lock:
            self._due[queue] = min(self._due[queue] + count, _MOST_DUE)
            if self._busy:
                return
            try:
                threading.Thread(target=self._publish_all, name="hints", daemon=True).start()
            except RuntimeError:  # no room for a thread: the next call tries again
                return
            self._busy = True

    def _publish_all(self) -> None:
        """Publish until nothing is due; what comes meanwhile goes in one turn."""
        try:
            while due := self._take_due():
                for queue, count in due.items():
                    self._publish(queue, count)
        except BaseException:
            with self._lock:
                self._busy = False
            raise

    def _take_due(self) -> Counter[str]:
        with self._lock:
            due, self._due = self._due, Counter()
            self._busy = bool(due)
        return due

    def _publish(self, queue: str, count: int) -> None:
        try:
            messages = [self.message(queue) for _ in range(count)]
            with self._app.producer_or_acquire() as producer:
                channel: Any = producer.channel
                with channel.conn_or_acquire() as client:
                    client.lpush(queue, *messages)
        except self._errors as error:
            _log.warning("hint.lost", queue=queue, count=count, error=type(error).__name__)


def _template(app: Celery, queue: str) -> str:
    """A hint as Celery and kombu write it to a list of Redis, but with ``_ID`` for its ids.

    They take 0.3 ms to make one, and they make one at a time.
    """
    with Connection("memory://") as memory:
        channel: Any = memory.channel()
        app.send_task(TASK_NAME, queue=queue, task_id=_ID, producer=Producer(channel), retry=False)
        message = channel._get(queue)
    message["properties"]["delivery_tag"] = _ID
    return str(dumps(message))
