"""Jobs in RunPod's verbs."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from contract.errors import EngineError
from contract.settings import Settings
from model_store.store import ModelStore
from tests.support.fronts import LocalFront
from tests.support.hand_worker import HandWorker
from tests.support.waiting import eventually

PROMPT = {"input": {"prompt": "hello"}}


def run(client: FlaskClient, body: Any = None, model: str = "tiny") -> dict[str, Any]:
    answer = client.post(f"/v2/{model}/run", json=body or PROMPT)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def status(client: FlaskClient, job: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v2/tiny/status/{job}").get_json()
    return found


def test_a_job_is_run_and_read(client: FlaskClient, worker: HandWorker) -> None:
    asked = {
        "input": {"messages": [{"role": "user", "content": "hi"}],
                  "sampling_params": {"max_tokens": 7, "stop": "x"}},
        "policy": {"ttl": 60_000, "lowPriority": True},
    }  # fmt: skip
    begun = run(client, asked)
    assert begun["status"] == "IN_QUEUE"
    claim = worker.claim()
    assert claim.input == {"messages": [{"role": "user", "content": "hi"}]}
    assert (claim.parameters["max_tokens"], claim.parameters["stop"]) == (7, ["x"])
    assert claim.priority == 9
    assert status(client, begun["id"])["status"] == "IN_PROGRESS"
    worker.finish(claim)
    done = status(client, begun["id"])
    assert (done["status"], done["output"]["text"]) == ("COMPLETED", "Paris.")
    assert done["delayTime"] >= 0
    assert done["executionTime"] >= 0


def test_a_prompt_goes_to_the_model_as_it_is(client: FlaskClient, worker: HandWorker) -> None:
    run(client)
    assert worker.claim().input == {"prompt": "hello"}
    run(client, {"input": {"prompt": "hello", "apply_chat_template": True}})
    assert worker.claim().input == {"messages": [{"role": "user", "content": "hello"}]}


def test_texts_are_embedded(client: FlaskClient, settings: Settings, models: ModelStore) -> None:
    with HandWorker(settings, models.resolve("tiny-embed")) as embedder:
        run(client, {"input": {"texts": ["a", "b"]}}, "tiny-embed")
        assert embedder.claim().input == {"texts": ["a", "b"], "many": True}


def test_runsync_waits_and_lets_the_job_go_on(client: FlaskClient, worker: HandWorker) -> None:
    answer = client.post("/v2/tiny/runsync?wait=1000", json=PROMPT).get_json()
    assert answer["status"] == "IN_QUEUE"
    worker.finish(worker.claim())
    assert status(client, answer["id"])["status"] == "COMPLETED"


def test_a_stream_gives_each_part_once_also_after_a_second_attempt(
    client: FlaskClient, front: LocalFront, worker: HandWorker
) -> None:
    def new() -> tuple[str, str]:
        found = client.get(f"/v2/tiny/stream/{job}").get_json()
        return found["status"], "".join(each["output"] for each in found["stream"])

    job = run(client)["id"]
    assert new() == ("IN_QUEUE", "")
    claim = worker.claim()
    worker.say(claim, "Par", "i")
    assert new() == ("IN_PROGRESS", "Pari")
    assert new() == ("IN_PROGRESS", "")
    worker.say(claim, "s")  # counted from the start of a call, so it repeats "Par"
    assert new()[1] == ""
    worker.say(claim, "Paris.")
    worker.finish(claim)
    assert new() == ("COMPLETED", "s.")
    assert new() == ("COMPLETED", "")


def test_a_job_is_cancelled(client: FlaskClient) -> None:
    job = run(client)["id"]
    assert client.post(f"/v2/tiny/cancel/{job}").get_json()["status"] == "CANCELLED"
    assert status(client, job)["status"] == "CANCELLED"


def test_only_a_dead_letter_is_tried_again(
    client: FlaskClient, front: LocalFront, worker: HandWorker, settings: Settings
) -> None:
    job = run(client)["id"]
    assert client.post(f"/v2/tiny/retry/{job}").status_code == 409
    store = front.store
    for _ in range(settings.max_attempts):
        eventually(lambda: any(each.pending for each in store.queues()), timeout_s=20)
        worker.fail(worker.claim(), EngineError("broke"))
        _let_it_wait_again(front)
    assert status(client, job)["status"] == "FAILED"
    assert status(client, job)["error"] == "broke"
    assert client.post(f"/v2/tiny/retry/{job}").get_json()["status"] == "IN_QUEUE"


def _let_it_wait_again(front: LocalFront) -> None:
    from contract.store import ReapStore

    reaper = ReapStore(front.store.connection, front.settings)
    eventually(
        lambda: [reaper.reap()] and not any(each.retrying for each in front.store.queues()),
        timeout_s=20,
    )


def test_health_counts_jobs_and_workers(client: FlaskClient, worker: HandWorker) -> None:
    run(client)
    health = client.get("/v2/tiny/health").get_json()
    assert health["jobs"]["inQueue"] == 1
    assert health["workers"]["idle"] == 1
    worker.claim()
    health = client.get("/v2/tiny/health").get_json()
    assert (health["jobs"]["inProgress"], health["workers"]["running"]) == (1, 1)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "input"),
        ({"input": {}}, "/input/prompt is missing"),
        ({"input": {"prompt": "a", "text": "b"}}, "/input/prompt is not a field here"),
        ({**PROMPT, "webhook": "https://example.org"}, "webhook"),
        ({**PROMPT, "policy": {"ttl": 1}}, "ttl"),
    ],
)
def test_what_is_wrong_is_told(client: FlaskClient, body: Any, word: str) -> None:
    answer = client.post("/v2/tiny/run", json=body)
    assert answer.status_code == 400
    assert word in answer.get_json()["error"]


def test_what_is_not_there_is_404(client: FlaskClient) -> None:
    assert client.post("/v2/nobody/run", json=PROMPT).status_code == 404
    assert client.get("/v2/tiny/status/job_none").get_json()["code"] == "unknown_job"
    job = run(client)["id"]
    assert client.get(f"/v2/tiny-embed/status/{job}").status_code == 404
    assert client.get("/v2/nothing").get_json()["code"] == "not_found"
