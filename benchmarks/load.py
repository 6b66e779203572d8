"""Asks a subject for a workload: one thread for each client."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measures import Answer
from benchmarks.subjects.subject import Subject
from benchmarks.workloads import Item, Workload

_LEAD_S = 0.05  # the clients are all there when the clock starts


def run_workload(subject: Subject, workload: Workload) -> list[Answer]:
    """The answers, in the order of the items. An item that fails fails the round."""
    if workload.before:
        with ThreadPoolExecutor(max_workers=len(workload.before)) as threads:
            list(threads.map(subject.ask, workload.before))
    clients = workload.clients or len(workload.items)
    start_s = time.perf_counter() + _LEAD_S

    def ask(item: Item) -> Answer:
        due_s = start_s + item.at_s
        if workload.clients is not None:
            due_s = max(due_s, time.perf_counter())
        time.sleep(max(0.0, due_s - time.perf_counter()))
        reply = subject.ask(item, stream=workload.streamed)
        return Answer(
            item=item,
            due_s=due_s,
            ended_s=time.perf_counter(),
            tokens=reply.tokens,
            text=reply.text,
            pieces=reply.pieces,
        )

    with ThreadPoolExecutor(max_workers=clients) as threads:
        return list(threads.map(ask, workload.items))
