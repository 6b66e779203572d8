"""Celery's events of a worker, for Flower, which must not hold up the worker."""

from typing import Any

from celery.events.dispatcher import EventDispatcher


class WorkerEvents(EventDispatcher):
    """Sends each event once.

    Celery's heartbeat would wait for Redis, on the thread that must hear that it is to stop.
    """

    def send(self, type: str, *args: Any, **fields: Any) -> Any:
        """Send an event; one that cannot be sent now is kept for later."""
        return super().send(type, *args, **{**fields, "retry": False})
