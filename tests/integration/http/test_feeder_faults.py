"""What a feeder does where something is wrong with one of its batches."""

from typing import Any

from flask.testing import FlaskClient

from contract.store import BatchStore
from producer.admission import Admission
from producer.feeder.app import make_parts
from tests.support.feeding import (
    chat_line,
    chat_lines,
    ended,
    feeding,
    jsonl,
    lines_of,
    read,
    start,
)
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.waiting import eventually


class Buggy:
    """An admission with a bug, which a prompt with the word meets."""

    def __init__(self, real: Admission) -> None:
        self._real = real

    def prepare(self, request: Any, **more: Any) -> Any:
        """As the real one, mostly."""
        if "poison" in str(request.input):
            raise RuntimeError("a bug of ours")
        return self._real.prepare(request, **more)


def test_a_bug_costs_its_own_batch_alone_and_what_was_finished_is_kept(
    client: FlaskClient, front: LocalFront, serving: None
) -> None:
    lines = [chat_line(f"n{number}", f"text {number}") for number in range(5)]
    sick = start(client, jsonl(*lines, chat_line("poison", "poison")))
    well = start(client, chat_lines(40))
    admission = Buggy(make_parts(front.settings).admission)
    batches = BatchStore(front.store.connection, lease_s=0.2)
    with feeding(front.settings, admission=admission, batches=batches):
        ended(client, well["id"], "completed")
        failed = ended(client, sick["id"], "failed")

    assert [each["code"] for each in failed["errors"]["data"]] == ["feeder_failed"]
    # Those before the bug became jobs, whose results a later attempt may have found.
    assert failed["request_counts"]["failed"] == 0


def test_cancelling_after_a_feeder_was_lost_finds_the_jobs_that_it_left(
    client: FlaskClient, front: LocalFront, worker: HandWorker
) -> None:
    batch = start(client, chat_lines(30))
    with feeding(front.settings):
        eventually(lambda: waiting(front) >= 4)
    done, running = worker.claim(), worker.claim()
    worker.finish(done)
    client.post(f"/v1/batches/{batch['id']}/cancel")
    with feeding(front.settings):
        eventually(lambda: waiting(front) == 0)
        worker.finish(running)
        gone = ended(client, batch["id"], "cancelled")

    assert gone["request_counts"] == {"total": 30, "completed": 2, "failed": 0}
    assert len(lines_of(client, gone["output_file_id"])) == 2
    assert len(lines_of(client, gone["error_file_id"])) == 28


def test_a_file_that_goes_away_on_the_way_leaves_what_was_finished(
    client: FlaskClient, front: LocalFront, worker: HandWorker
) -> None:
    batch = start(client, chat_lines(30))
    with feeding(front.settings):
        eventually(lambda: waiting(front) >= 4)
        worker.finish(worker.claim())
        eventually(lambda: read(client, batch["id"])["request_counts"]["completed"] == 1)
    client.delete(f"/v1/files/{batch['input_file_id']}")
    with feeding(front.settings):
        failed = ended(client, batch["id"], "failed")

    assert [each["code"] for each in failed["errors"]["data"]] == ["input_file_missing"]
    assert len(lines_of(client, failed["output_file_id"])) == 1


def test_a_line_that_is_nested_too_deeply_is_told_when_the_file_is_looked_at(
    client: FlaskClient, front: LocalFront
) -> None:
    schema: Any = {"type": "string"}
    for _ in range(120):
        schema = {"type": "array", "items": schema}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    batch = start(client, jsonl(chat_line("a", response_format=form)))
    with feeding(front.settings):
        failed = ended(client, batch["id"], "failed")
    (error,) = failed["errors"]["data"]
    assert (error["line"], error["code"]) == (1, "invalid_line")
    assert "nested" in error["message"]


def waiting(front: LocalFront) -> int:
    return sum(queue.pending for queue in front.store.queues())
