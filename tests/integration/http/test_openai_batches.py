"""Batches: every line is answered once, whatever happens on the way."""

import threading
from collections import Counter
from collections.abc import Sequence

import pytest
from flask.testing import FlaskClient

from contract.errors import EngineError
from contract.job import Job, JobState
from contract.settings import Settings
from contract.store import BatchStore
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from producer.feeder import batch_run
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
from tests.support.hand_worker import USAGE, HandWorker
from tests.support.waiting import eventually


@pytest.fixture
def settings(front: LocalFront) -> Settings:
    return front.settings


def test_every_line_of_a_batch_is_answered(
    client: FlaskClient, settings: Settings, serving: None
) -> None:
    batch = start(client, chat_lines(50), metadata={"a": "b"})
    assert (batch["object"], batch["status"], batch["metadata"]) == (
        "batch",
        "validating",
        {"a": "b"},
    )
    assert batch["expires_at"] - batch["created_at"] == 86_400
    with feeding(settings):
        done = ended(client, batch["id"], "completed")

    assert done["request_counts"] == {"total": 50, "completed": 50, "failed": 0}
    assert (done["model"], done["error_file_id"], done["errors"]) == ("tiny:1", None, None)
    assert done["usage"]["input_tokens"] == 50 * USAGE["prompt_tokens"]
    assert done["usage"]["output_tokens"] == 50 * USAGE["completion_tokens"]
    assert (
        done["created_at"]
        <= done["in_progress_at"]
        <= done["finalizing_at"]
        <= done["completed_at"]
    )
    answers = lines_of(client, done["output_file_id"])
    assert answers.keys() == {f"n{n}" for n in range(50)}
    said = answers["n7"]
    assert said["error"] is None
    assert said["response"]["status_code"] == 200
    assert said["response"]["request_id"].startswith("job_")
    assert said["response"]["body"]["choices"][0]["message"]["content"] == "Paris."
    file = client.get(f"/v1/files/{done['output_file_id']}").get_json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")


def test_a_wrong_line_is_an_error_of_its_own_and_the_others_go_on(
    client: FlaskClient, settings: Settings, serving: None
) -> None:
    lines = [chat_line("good"), chat_line("odd", temperature=9), chat_line("streamed", stream=True)]
    batch = start(client, jsonl(*lines))
    with feeding(settings):
        done = ended(client, batch["id"], "completed")

    assert done["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert lines_of(client, done["output_file_id"]).keys() == {"good"}
    wrong = lines_of(client, done["error_file_id"])
    assert wrong.keys() == {"odd", "streamed"}
    response = wrong["odd"]["response"]
    assert (response["status_code"], response["body"]["error"]["param"]) == (400, "temperature")


def test_embeddings_can_be_asked_for_in_a_batch(
    client: FlaskClient, settings: Settings, models: ModelStore
) -> None:
    line = {
        "custom_id": "a", "method": "POST", "url": "/v1/embeddings",
        "body": {"model": "tiny-embed", "input": ["x", "y"], "encoding_format": "base64"},
    }  # fmt: skip
    batch = start(client, jsonl(line), endpoint="/v1/embeddings")
    stop = threading.Event()
    with HandWorker(settings, models.resolve("tiny-embed")) as worker, feeding(settings):
        thread = threading.Thread(target=worker.serve, args=(stop,))
        thread.start()
        done = ended(client, batch["id"], "completed")
        stop.set()
        thread.join()

    body = lines_of(client, done["output_file_id"])["a"]["response"]["body"]
    assert [type(each["embedding"]) for each in body["data"]] == [str, str]


def test_responses_can_be_asked_for_in_a_batch_whose_output_expires(
    client: FlaskClient, settings: Settings, serving: None
) -> None:
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/responses",
         "body": {"model": "tiny", "input": name, **more}}
        for name, more in (("good", {}), ("odd", {"previous_response_id": "resp_x"}))
    ]  # fmt: skip
    expiry = {"anchor": "created_at", "seconds": 3600}
    batch = start(client, jsonl(*lines), endpoint="/v1/responses", output_expires_after=expiry)
    with feeding(settings):
        done = ended(client, batch["id"], "completed")

    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    body = lines_of(client, done["output_file_id"])["good"]["response"]["body"]
    assert body["output"][0]["content"][0]["text"] == "Paris."
    wrong = lines_of(client, done["error_file_id"])["odd"]["response"]["body"]
    assert wrong["error"]["param"] == "previous_response_id"
    file = client.get(f"/v1/files/{done['output_file_id']}").get_json()
    assert file["expires_at"] - file["created_at"] == 3600
    assert done["usage"]["total_tokens"] == USAGE["total_tokens"]


def test_a_batch_waits_behind_everyone_and_fills_no_queue(
    client: FlaskClient, front: LocalFront, settings: Settings, worker: HandWorker
) -> None:
    batch = start(client, chat_lines(300))
    with feeding(settings):
        eventually(lambda: waiting(front) >= 4)
        body = {"model": "tiny", "input": "urgent"}
        urgent = client.post("/api/v1/jobs", json=body).get_json()["id"]
        assert worker.claim().job_id == urgent
        assert waiting(front) <= 16
        assert read(client, batch["id"])["status"] == "in_progress"


def test_batches_share_the_slots_evenly(
    client: FlaskClient, front: LocalFront, settings: Settings, worker: HandWorker
) -> None:
    batches = [start(client, chat_lines(200))["id"] for _ in range(2)]
    ran: Counter[str] = Counter()
    with feeding(settings):
        eventually(lambda: waiting(front) >= 8)
        for _ in range(40):
            eventually(lambda: waiting(front) >= 2)
            claim = worker.claim()
            ran[front.store.get(claim.job_id).metadata["batch"]] += 1
            worker.finish(claim)

    assert all(ran[each] >= 15 for each in batches), ran


def test_another_feeder_goes_on_where_one_was_lost_and_no_line_runs_twice(
    client: FlaskClient, front: LocalFront, settings: Settings, tiny: ModelVersion
) -> None:
    batch = start(client, chat_lines(40))
    ran: list[str] = []
    with HandWorker(settings, tiny) as worker:
        for share in (10, 30):
            with feeding(settings):
                for _ in range(share):
                    eventually(lambda: waiting(front))
                    claim = worker.claim()
                    ran.append(claim.job_id)
                    worker.finish(claim)
        with feeding(settings):
            done = ended(client, batch["id"], "completed")

    assert len(ran) == len(set(ran)) == 40
    assert done["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
    assert len(lines_of(client, done["output_file_id"])) == 40


def test_a_cancelled_batch_waits_for_what_runs_and_keeps_it(
    client: FlaskClient, front: LocalFront, settings: Settings, worker: HandWorker
) -> None:
    batch = start(client, chat_lines(100))
    with feeding(settings):
        eventually(lambda: waiting(front) >= 4)
        done, running = worker.claim(), worker.claim()
        worker.finish(done)
        asked = client.post(f"/v1/batches/{batch['id']}/cancel")
        assert (asked.status_code, asked.get_json()["status"]) == (200, "cancelling")
        eventually(lambda: waiting(front) == 0)
        assert read(client, batch["id"])["status"] == "cancelling"
        worker.finish(running)
        gone = ended(client, batch["id"], "cancelled")

    assert gone["request_counts"] == {"total": 100, "completed": 2, "failed": 0}
    assert len(lines_of(client, gone["output_file_id"])) == 2
    left = lines_of(client, gone["error_file_id"])
    assert len(left) == 98
    assert {each["error"]["code"] for each in left.values()} == {"batch_cancelled"}
    again = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.get_json()["status"]) == (200, "cancelled")


def test_a_batch_that_expires_keeps_what_was_finished(
    client: FlaskClient, front: LocalFront, settings: Settings, worker: HandWorker
) -> None:
    content = chat_lines(30)
    batch = start(client, content, completion_window="3s")
    with feeding(settings):
        eventually(lambda: waiting(front) >= 4)
        worker.finish(worker.claim())
        late = ended(client, batch["id"], "expired")

    assert late["request_counts"] == {"total": 30, "completed": 1, "failed": 0}
    assert len(lines_of(client, late["output_file_id"])) == 1
    left = lines_of(client, late["error_file_id"])
    assert {each["error"]["code"] for each in left.values()} == {"batch_expired"}
    assert len(left) == 29


def test_a_line_whose_job_fails_is_an_error_with_its_cause(
    client: FlaskClient, front: LocalFront, settings: Settings, worker: HandWorker
) -> None:
    batch = start(client, jsonl(chat_line("a")))
    with feeding(settings):
        for _ in range(settings.max_attempts):
            eventually(lambda: waiting(front))
            worker.fail(worker.claim(), EngineError("the step failed"))
        done = ended(client, batch["id"], "completed")

    assert done["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    response = lines_of(client, done["error_file_id"])["a"]["response"]
    assert response["status_code"] == 500
    assert "the step failed" in response["body"]["error"]["message"]


def test_results_leave_redis_when_they_are_in_a_file(
    client: FlaskClient, front: LocalFront, settings: Settings, serving: None
) -> None:
    batch = start(client, chat_lines(30))
    with feeding(settings):
        ended(client, batch["id"], "completed")
        eventually(lambda: not finished_jobs(front))


def test_a_batch_that_kills_its_feeders_is_given_up(
    client: FlaskClient, front: LocalFront, settings: Settings
) -> None:
    batch = start(client, jsonl(chat_line("a")))
    batches = BatchStore(front.store.connection, lease_s=0.01)
    for _ in range(batch_run.MOST_FAILURES):
        eventually(batches.lease)
    with feeding(settings):
        done = ended(client, batch["id"], "failed")
    assert [each["code"] for each in done["errors"]["data"]] == ["feeder_failed"]


def waiting(front: LocalFront) -> int:
    return sum(queue.pending for queue in front.store.queues())


def finished_jobs(front: LocalFront) -> Sequence[Job]:
    page = front.store.list_jobs(state=JobState.COMPLETED, model=None, limit=10, after=None)
    return page.items
