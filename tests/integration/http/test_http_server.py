"""What only the real server shows: bodies on the wire, greenlets, start and stop."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest

from contract.settings import Settings
from contract.store import JobStore
from model_store.store import ModelStore
from tests.support import lab_front
from tests.support.fronts import COMMAND, FrontServer
from tests.support.jobs import QUEUE, new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

JOBS = "/api/v1/jobs"
JSON = {"Content-Type": "application/json"}
LONG_PROMPT = "hello " * 500


@pytest.fixture
def own_server(
    redis_server: RedisServer, models: ModelStore, tmp_path: Path
) -> Iterator[FrontServer]:
    """A server that the test may stop."""
    environ = {"MILLRACE_REDIS_URL": redis_server.url, "MILLRACE_MODELS_DIR": str(models.root)}
    server = FrontServer(environ, tmp_path / "front.log").start()
    yield server
    server.stop()


def test_a_chunked_body_over_the_cap_is_413(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    response = http.post(JOBS, content=endless(), headers=JSON)

    assert "Content-Length" not in response.request.headers
    assert response.status_code == 413, response.text
    assert response.json()["code"] == "body_too_large"


def test_a_large_body_is_refused_in_words_and_the_server_serves_on(http: httpx.Client) -> None:
    for _ in range(3):
        response = http.post(JOBS, content=b" " * 5_000_000, headers=JSON)

        assert response.status_code == 413
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("more", [0, 1])
def test_the_cap_is_exact(http: httpx.Client, more: int) -> None:
    body = b'{"model": "nope", "input": "x"}'
    padded = body + b" " * (1_048_576 - len(body) + more)

    whole = http.post(JOBS, content=padded, headers=JSON)
    chunked = http.post(JOBS, content=iter([padded]), headers=JSON)

    assert whole.status_code == chunked.status_code == (413 if more else 404)


def test_a_chunked_body_under_the_cap_is_taken(http: httpx.Client) -> None:
    parts = iter([b'{"model": "tiny", ', b'"input": "hello"}'])

    assert http.post(JOBS, content=parts, headers=JSON).status_code == 202


def test_a_compressed_body_is_415(http: httpx.Client) -> None:
    response = http.post(JOBS, content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"})

    assert response.status_code == 415


def test_head_is_get_without_a_body(http: httpx.Client) -> None:
    for path in ("/healthz", JOBS, "/openapi.json"):
        response = http.head(path)

        assert response.status_code == 200
        assert response.content == b""


def test_options_says_what_is_allowed(http: httpx.Client) -> None:
    response = http.options(JOBS)

    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_request_line_that_is_too_long_is_refused_and_does_no_harm(http: httpx.Client) -> None:
    assert http.get(f"/{'x' * 9000}").status_code in (400, 414)
    assert http.get("/healthz").status_code == 200


def test_answers_are_not_kept_by_caches(http: httpx.Client) -> None:
    response = http.get(JOBS)

    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_server_answers_others_while_a_prompt_is_counted(own_server: FrontServer) -> None:
    counted = threading.Event()
    answers: list[int] = []

    def count() -> None:
        with own_server.client() as client:
            response = client.post(JOBS, json={"model": "tiny", "input": LONG_PROMPT})
            answers.append(response.status_code)
        counted.set()

    thread = threading.Thread(target=count)
    thread.start()
    meanwhile = 0
    with own_server.client() as client:
        while not counted.is_set():
            meanwhile += client.get("/healthz").is_success
    thread.join()

    assert answers == [422]
    assert meanwhile >= 5  # loading the tokenizer in the helper takes longer than that


def test_others_are_answered_and_counted_while_many_prompts_of_a_batch_are(
    http: httpx.Client,
) -> None:
    counted = threading.Event()
    answers: list[int] = []
    too_long = {"model": "tiny", "input": LONG_PROMPT}
    http.post(JOBS, json=too_long)  # the helper is up from now on

    def count() -> None:
        with httpx.Client(base_url=http.base_url, trust_env=False, timeout=60) as own:
            response = own.post(f"{JOBS}:batch", json={"jobs": [too_long] * 500})
            answers.extend(each["status"] for each in response.json()["data"])
        counted.set()

    thread = threading.Thread(target=count)
    thread.start()
    healthy = refused = 0
    while not counted.is_set():
        healthy += http.get("/healthz").is_success
        refused += http.post(JOBS, json=too_long).status_code == 422
    thread.join()

    assert answers == [422] * 500
    assert min(healthy, refused) >= 5


def test_sixty_waits_at_once_do_not_keep_others_out(http: httpx.Client) -> None:
    job_id = http.post(JOBS, json={"model": "tiny", "input": "hello"}).json()["id"]
    statuses: list[str] = []

    def wait() -> None:
        with httpx.Client(base_url=http.base_url, trust_env=False, timeout=60) as own:
            statuses.append(own.get(f"{JOBS}/{job_id}?wait=50").json()["status"])

    threads = [threading.Thread(target=wait) for _ in range(60)]
    for thread in threads:
        thread.start()
    began_s = time.monotonic()
    assert http.post(f"{JOBS}/{job_id}/cancel").status_code == 202
    for thread in threads:
        thread.join()

    assert statuses == ["cancelled"] * 60
    assert time.monotonic() - began_s < 30


def test_a_stopped_server_leaves_no_process_behind(own_server: FrontServer) -> None:
    with own_server.client() as client:  # an idle connection does not hold it up either
        client.post(JOBS, json={"model": "tiny", "input": LONG_PROMPT})
        family = psutil.Process(own_server.pid).children(recursive=True)
        assert any("producer.token_count" in " ".join(each.cmdline()) for each in family)

        began_s = time.monotonic()
        status = own_server.stop()

    assert status == 0
    assert time.monotonic() - began_s < 10
    eventually(lambda: not any(each.is_running() for each in family))


def test_a_killed_server_leaves_no_process_behind(own_server: FrontServer) -> None:
    with own_server.client() as client:
        client.post(JOBS, json={"model": "tiny", "input": LONG_PROMPT})
    family = psutil.Process(own_server.pid).children(recursive=True)

    psutil.Process(own_server.pid).kill()

    eventually(lambda: not any(each.is_running() for each in family))


def test_a_bad_setting_stops_the_start_and_names_itself() -> None:
    environ = {**os.environ, "MILLRACE_PORT": "many", "MILLRACE_HOTS": "x"}

    started = subprocess.run(
        COMMAND, env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert started.returncode != 0
    assert "MILLRACE_PORT='many'" in started.stderr
    assert "MILLRACE_HOTS" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_client_that_goes_away_in_the_middle_of_a_body_does_no_harm(
    server: FrontServer, http: httpx.Client
) -> None:
    for _ in range(3):
        connection = http_client(server)
        connection.putrequest("POST", JOBS)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b'{"model": ')
        connection.close()

    assert http.get(JOBS).json()["data"] == []


def http_client(server: FrontServer) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", server.port, timeout=10)


def test_a_front_whose_reaper_died_is_replaced_by_one_that_has_one(
    own_redis: RedisServer, models: ModelStore, tmp_path: Path
) -> None:
    # A Redis of its own: beside the other front, that one's reaper might send the hint.
    log = tmp_path / "front.log"
    environ = {
        "MILLRACE_REDIS_URL": own_redis.url, "MILLRACE_MODELS_DIR": str(models.root),
        "LAB_DIE": "reaper", "LAB_DEATHS": str(tmp_path / "death"),
    }  # fmt: skip
    front = FrontServer(environ, log, lab_front.COMMAND).start()
    try:
        settings = Settings.from_mapping({"MILLRACE_REDIS_URL": own_redis.url})
        JobStore.connect(settings).submit(new_job())  # without a hint: the reaper must send it
        eventually(lambda: "thread.died" in log.read_text(), timeout_s=10)
        eventually(lambda: own_redis.client().llen(QUEUE) == 1, timeout_s=10)
        with front.client() as client:
            assert client.get("/healthz").status_code == 200
    finally:
        front.stop()
