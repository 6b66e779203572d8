"""``millrace up`` with a tiny model: what it starts and survives, and that it leaves nothing."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from contract.queues import queue_name
from millrace import Client
from model_store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.redis_server import RedisServer
from tests.support.up_process import UpProcess
from tests.support.waiting import eventually

Start = Callable[..., UpProcess]
SERVING = "Ctrl-C stops everything."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the tiny model."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_llama(ModelStore(root))
    return root


@pytest.fixture
def up(tmp_path: Path, models: Path) -> Iterator[Start]:
    """Starts ``millrace up``, and ends it after the test whatever happened."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **changes: object) -> UpProcess:
            fields: dict[str, object] = {"models": models, **changes}
            each = UpProcess(tmp_path, *arguments, **fields)  # type: ignore[arg-type]
            stack.callback(each.end)
            return each.start()

        yield start


def test_the_demo_answers_one_prompt_and_leaves_nothing(up: Start) -> None:
    each = up("--demo", "--exit", "--json")
    assert each.wait() == 0, each.text()
    events = [json.loads(line) for line in each.text().splitlines()]
    ready = [event["name"] for event in events if event["event"] == "ready"]
    assert ready[0] == "valkey"
    assert sorted(ready) == ["feeder", "flower", "front", "valkey", "worker-1"]
    streamed = "".join(event["detail"] for event in events if event["event"] == "text")
    (answer,) = [event for event in events if event["event"] == "answer"]
    assert streamed == answer["answer"]
    assert answer["tokens"] == 64
    assert events[-1]["event"] == "stopped"
    each.assert_gone()


def test_a_store_that_lost_its_jobs_is_said_on_the_screen(up: Start) -> None:
    each = up("--no-flower").until(SERVING)
    with Client(each.url) as client:
        client.submit(model="tiny", input="hello").wait(timeout_s=30)
    with redis.Redis(port=each.ports["REDIS_PORT"]) as store:
        store.flushall()
    each.until("Redis lost its jobs", timeout_s=10)


def test_flower_names_the_queues_of_the_models_that_are_served(up: Start, models: Path) -> None:
    each = up().until(SERVING)
    tiny = ModelStore(models).resolve("tiny")
    url = f"http://127.0.0.1:{each.ports['FLOWER_PORT']}/broker"

    page = httpx.get(url, timeout=10)

    assert queue_name(tiny.name, tiny.digest) in page.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_request_to_stop_ends_all_of_it_with_exit_code_0(
    up: Start, number: signal.Signals
) -> None:
    each = up("--no-flower").until(SERVING)
    assert sorted(each.listening()) == ["PORT", "REDIS_PORT"]
    each.signal(number)
    assert each.wait() == 0
    assert "stopped" in each.text()
    each.assert_gone()


def test_a_stop_during_the_start_leaves_nothing(up: Start) -> None:
    each = up().until("append-only file")
    each.signal(signal.SIGINT)
    assert each.wait() == 0
    assert SERVING not in each.text()
    each.assert_gone()


def test_a_second_request_does_not_wait_for_a_worker_that_hangs(up: Start) -> None:
    each = up("--no-flower").until(SERVING)
    os.kill(each.pid_of("workers.app"), signal.SIGSTOP)
    each.signal(signal.SIGINT)
    each.until("stopping")
    with pytest.raises(subprocess.TimeoutExpired):
        each.wait(timeout_s=1)
    each.signal(signal.SIGINT)
    assert each.wait(timeout_s=10) == 0
    each.assert_gone()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_under_make_a_stop_reaches_everything(up: Start, tmp_path: Path) -> None:
    recipe = tmp_path / "Makefile"
    recipe.write_text(f"run:\n\t@exec {sys.executable} -m millrace up --no-flower\n")
    each = up(prefix=("make", "-f", str(recipe), "run", "PYTHON="))
    each.until(SERVING)
    each.signal(signal.SIGTERM)
    each.wait()
    each.assert_gone()


def test_killed_children_are_started_again_and_serve(up: Start) -> None:
    each = up("--workers", "2", "--no-flower").until(SERVING)
    with Client(each.url) as client:
        pids = [worker.pid for worker in client.workers()]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        each.until("worker-")
        eventually(lambda: len({w.pid for w in client.workers()} - set(pids)) == 1, timeout_s=30)
        os.kill(each.pid_of("valkey-server"), signal.SIGKILL)
        each.until("valkey is back")
        os.kill(each.pid_of("gunicorn"), signal.SIGKILL)
        each.until("front is back")
        assert client.submit("hello", max_tokens=4).wait(timeout_s=60).status == "completed"
    each.signal(signal.SIGTERM)
    assert each.wait() == 0
    each.assert_gone()


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's service that this uses is Linux's"
)
def test_children_of_a_killed_up_die_and_the_next_one_starts(up: Start) -> None:
    each = up("--no-flower").until(SERVING)
    each.process.kill()
    each.wait()
    each.assert_gone()
    again = up("--no-flower", "--exit", "--demo")
    assert again.wait() == 0, again.text()


def test_a_valkey_left_behind_is_stopped_and_its_data_kept(up: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "valkey"
    left = RedisServer(folder).start()
    try:
        left.client().set("kept", "yes")
        (folder / "valkey.pid").write_text(str(left.pid))
        each = up("--no-flower", "--exit", environ={"MILLRACE_REDIS_PORT": str(left.port)})
        assert each.wait() == 0, each.text()
        assert f"stopped a Valkey (pid {left.pid}) that an earlier run had left" in each.text()
    finally:
        left.stop()
    assert left.start().client().get("kept") == "yes"
    left.stop()


def test_a_worker_that_cannot_start_stops_everything_with_its_last_lines(
    up: Start, tmp_path: Path, models: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models, broken)
    (file,) = broken.glob("tiny/1/model.onnx")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    each = up("--no-flower", models=broken)
    assert each.wait() == 1
    assert "worker-1 (pid" in each.text()
    assert "5th time in a row" in each.text()
    assert "model.onnx" in each.text().splitlines()[-1]
    each.assert_gone()


@pytest.mark.parametrize("name", ["PORT", "FLOWER_PORT", "REDIS_PORT"])
def test_a_taken_port_is_named_with_the_setting_that_changes_it(up: Start, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        each = up(environ={f"MILLRACE_{name}": port})
        assert each.wait() == 1
    (line,) = [line for line in each.text().splitlines() if "port" in line]
    assert f"port {port}" in line
    assert f"MILLRACE_{name}" in line
    each.assert_gone()


def test_a_second_up_on_the_same_data_is_refused(up: Start) -> None:
    first = up("--no-flower").until(SERVING)
    second = up("--no-flower")
    assert second.wait() == 1
    assert f"another `millrace up` (pid {first.process.pid}) runs on" in second.text()
    assert len(second.text().splitlines()) == 1


def test_an_unknown_model_is_named_before_anything_starts(up: Start) -> None:
    each = up(model="gpt-9")
    assert each.wait() == 1
    assert each.text().splitlines()[-1] == "millrace: there is no model 'gpt-9'; known: tiny"
    each.assert_gone()


def test_a_redis_that_refuses_is_named_without_its_password(up: Start) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        each = up(environ={"MILLRACE_REDIS_URL": f"redis://:secret@{address}/0"})
        assert each.wait() == 4  # it may answer later
    assert address in each.text()
    assert "unset MILLRACE_REDIS_URL" in each.text()
    assert "secret" not in each.text()
    assert len(each.text().splitlines()) == 1


def test_a_redis_that_drops_keys_is_refused_and_one_without_a_file_is_warned_of(
    up: Start, own_redis: RedisServer
) -> None:
    own_redis.client().config_set("maxmemory-policy", "allkeys-lru")
    refused = up(environ={"MILLRACE_REDIS_URL": own_redis.url})
    assert refused.wait() == 1
    assert "set maxmemory-policy noeviction" in refused.text()
    own_redis.client().config_set("maxmemory-policy", "noeviction")
    own_redis.client().config_set("appendonly", "no")
    warned = up("--no-flower", "--exit", environ={"MILLRACE_REDIS_URL": own_redis.url})
    assert warned.wait() == 0, warned.text()
    assert "set appendonly yes" in warned.text()
