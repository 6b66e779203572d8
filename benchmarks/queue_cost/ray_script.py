"""Ray Serve's asynchronous inference. Runs in a venv of its own, driven by lines of JSON.

``python -m benchmarks.queue_cost.ray_script REDIS_URL PORT CONCURRENCY``: it prints {"ready": true}
when it serves, answers each line {"jobs": N, "seconds": S} with {"submits_s"}, and ends with its
input. POST / with {"number", "seconds"} answers {"id"}; GET /?id=… {"status"}.
"""

import json
import os
import sys
import time
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from ray.serve.schema import (  # type: ignore[import-not-found]
    CeleryAdapterConfig,
    TaskProcessorConfig,
)
from ray.serve.task_consumer import (  # type: ignore[import-not-found]
    instantiate_adapter_from_config,
    task_consumer,
    task_handler,
)

_PAUSE_S = 0.002
_PATIENCE_S = 120.0


def main(url: str, port: int, concurrency: int) -> None:
    """Serve until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints must not come between the answers
    queue = TaskProcessorConfig(
        queue_name="peer", adapter_config=CeleryAdapterConfig(broker_url=url, backend_url=url)
    )

    class Consumer:
        work = task_handler(name="work")(handle)

    class Ingress:
        def __init__(self, consumer: Any) -> None:
            self._consumer = consumer
            self._adapter = instantiate_adapter_from_config(queue)

        async def __call__(self, request: Any) -> dict[str, Any]:
            if request.method == "POST":
                body = await request.json()
                arguments = [body["number"], body["seconds"]]
                return {"id": self._adapter.enqueue_task_sync("work", args=arguments).id}
            return {"status": self._adapter.get_task_status_sync(request.query_params["id"]).status}

    ray.init(
        num_cpus=8, include_dashboard=False, log_to_driver=False,
        object_store_memory=100 * 1024 * 1024,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    consumer = serve.deployment(max_ongoing_requests=concurrency)(
        task_consumer(task_processor_config=queue)(Consumer)
    )
    ingress = serve.deployment(max_ongoing_requests=100)(Ingress)
    serve.run(ingress.bind(consumer.bind()), route_prefix="/")
    adapter = instantiate_adapter_from_config(queue)

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        say(burst(adapter, asked["jobs"], asked["seconds"]))
    serve.shutdown()
    ray.shutdown()


def handle(_: Any, number: int, seconds: float) -> int:
    """The handler, a method: sleep, and answer with the number."""
    if seconds:
        time.sleep(seconds)
    return number


def burst(adapter: Any, jobs: int, seconds: float) -> dict[str, Any]:
    """Ask for all at once through the adapter, then look until each has its result."""
    ids, taken_s = [], []
    for number in range(jobs):
        started_s = time.perf_counter()
        ids.append(adapter.enqueue_task_sync("work", args=[number, seconds]).id)
        taken_s.append(time.perf_counter() - started_s)
    due_s = time.monotonic() + _PATIENCE_S
    for number, task_id in enumerate(ids):
        # The result is read before the status, so a success may come without it.
        while (task := adapter.get_task_status_sync(task_id)).result != number:
            if task.status == "FAILURE" or time.monotonic() > due_s:
                raise RuntimeError(f"task {number} is {task.status}: {task.result!r}")
            time.sleep(_PAUSE_S)
    return {"submits_s": taken_s}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
