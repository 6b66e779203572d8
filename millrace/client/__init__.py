"""The HTTP client: typed, frozen results; retries; streams that resume."""

from millrace.client.api import Client
from millrace.client.batches import Batch, Batches
from millrace.client.handle import JobHandle
from millrace.client.records import Event, Job, Model, Page, Queue, Worker
from millrace.client.retries import RetryPolicy

__all__ = [
    "Batch",
    "Batches",
    "Client",
    "Event",
    "Job",
    "JobHandle",
    "Model",
    "Page",
    "Queue",
    "RetryPolicy",
    "Worker",
]
