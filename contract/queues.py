"""Celery as transport: anonymous hints that there is work in a queue. They carry nothing else."""

from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from contract.redis_address import RedisAddress
from contract.settings import Settings

TASK_NAME = "millrace.run_next"

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
            "health_check_interval": 5,
            **_sentinel_options(address),
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
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
    """Publishes hints. A failure is logged and forgotten: the reaper makes up for it."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_celery(settings)

    def publish(self, queue: str, count: int = 1) -> None:
        """Say ``count`` times that a job waits in ``queue``."""
        try:
            with self._app.producer_or_acquire() as producer:
                for _ in range(count):
                    self._app.send_task(TASK_NAME, queue=queue, producer=producer, retry=False)
        except (OperationalError, OSError) as error:
            _log.warning("hint.lost", queue=queue, count=count, error=type(error).__name__)
