"""Millrace: language models behind an HTTP queue.

from millrace import Client

job = Client().submit("What is the capital of France?")
print(job.wait().text)
"""

from millrace.client import Client, Event, Job, JobHandle, Model, Page, Queue, Worker

__all__ = ["Client", "Event", "Job", "JobHandle", "Model", "Page", "Queue", "Worker"]
