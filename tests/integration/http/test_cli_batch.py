"""``millrace batch`` against a real front, with a feeder and a worker behind it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.settings import Settings
from millrace.cli.main import run
from model_store.manifest import ModelVersion
from model_store.store import ModelStore
from tests.support.feeding import chat_line, chat_lines, feeding, jsonl
from tests.support.fronts import FrontServer
from tests.support.hand_worker import HandWorker
from tests.support.redis_server import RedisServer

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def settings(server: FrontServer, redis_server: RedisServer, models: ModelStore) -> Settings:
    """Those of the front, for a feeder and a worker beside it."""
    return Settings.from_mapping(
        {
            "MILLRACE_REDIS_URL": redis_server.url,
            "MILLRACE_MODELS_DIR": str(models.root),
            "MILLRACE_FILES_URL": str(server.log.parent / "files"),
        }
    )


@pytest.fixture
def fed(settings: Settings, tiny: ModelVersion) -> Iterator[None]:
    """A feeder, and a worker that answers whatever comes."""
    stop = threading.Event()
    with HandWorker(settings, tiny) as worker, feeding(settings):
        thread = threading.Thread(target=worker.serve, args=(stop,))
        thread.start()
        yield
        stop.set()
        thread.join()


class Command:
    """``millrace batch`` on one input and one output."""

    def __init__(self, folder: Path, url: str) -> None:
        self.file = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.errors = folder / "out.jsonl.errors.jsonl"
        self.state = folder / "out.jsonl.batch"
        self._environ = {"MILLRACE_URL": url}

    def run(self, *options: str) -> int:
        return self("run", str(self.file), "-o", str(self.output), *options)

    def __call__(self, *args: str) -> int:
        return run(["batch", *args], self._environ)


@pytest.fixture
def command(server: FrontServer, settings: Settings, tmp_path: Path) -> Command:
    assert settings.redis_url  # which is empty now
    return Command(tmp_path, server.url)


def names(path: Path) -> list[str]:
    return sorted(json.loads(line)["custom_id"] for line in path.read_bytes().splitlines())


def test_a_file_is_answered_and_the_answers_are_written(
    command: Command, fed: None, capsys: Captured
) -> None:
    command.file.write_bytes(chat_lines(20))
    assert command.run() == 0

    assert names(command.output) == sorted(f"n{number}" for number in range(20))
    assert "completed: 20 of 20 lines answered, 0 failed" in capsys.readouterr().out
    assert not command.state.exists()
    assert not command.errors.exists()


def test_lines_that_fail_go_to_a_file_of_errors_and_into_the_exit_code(
    command: Command, fed: None, capsys: Captured
) -> None:
    command.file.write_bytes(jsonl(chat_line("good"), chat_line("odd", temperature=9)))
    assert command.run("--json") == 1

    assert names(command.output) == ["good"]
    assert names(command.errors) == ["odd"]
    told = json.loads(capsys.readouterr().out)
    assert told["request_counts"] == {"total": 2, "completed": 1, "failed": 1}


def test_a_file_that_is_no_batch_is_told_line_by_line(
    command: Command, fed: None, capsys: Captured
) -> None:
    command.file.write_bytes(chat_lines(2) + b"nonsense\n")
    assert command.run() == 1

    assert "line 3: the line is not JSON" in capsys.readouterr().err
    assert not command.output.exists()


def test_a_run_that_was_interrupted_is_resumed_with_the_same_batch(
    command: Command, settings: Settings, tiny: ModelVersion, monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:  # fmt: skip
    command.file.write_bytes(chat_lines(5))
    with monkeypatch.context() as patched:
        patched.setattr("millrace.client.batches.Batches.wait", _interrupt)
        assert command.run() == 130
    begun = json.loads(command.state.read_text())["batch_id"]
    assert f"batch {begun} goes on" in capsys.readouterr().err
    assert command.run() == 2  # it must be said that this is meant

    stop = threading.Event()
    with HandWorker(settings, tiny) as worker, feeding(settings):
        thread = threading.Thread(target=worker.serve, args=(stop,))
        thread.start()
        assert command.run("--resume") == 0
        stop.set()
        thread.join()
    assert begun in capsys.readouterr().out
    assert len(names(command.output)) == 5


def test_another_file_cannot_resume_a_run(command: Command, capsys: Captured) -> None:
    command.file.write_bytes(chat_lines(2))
    command.state.write_text(json.dumps({"sha256": "another", "key": "k"}))
    assert command.run("--resume") == 1
    assert "not the file" in capsys.readouterr().err


def test_batches_are_listed_shown_and_cancelled(command: Command, capsys: Captured) -> None:
    command.file.write_bytes(chat_lines(2))
    client_made = _create(command)
    assert command("list") == 0
    assert client_made in capsys.readouterr().out
    assert command("status", client_made) == 0
    assert "validating" in capsys.readouterr().out
    assert command("cancel", client_made) == 0
    assert capsys.readouterr().out.strip() == f"{client_made} cancelling"
    assert command("status", "batch_none") == 1
    assert "no batch has the id" in capsys.readouterr().err


def _create(command: Command) -> str:
    from millrace.client import Client

    with Client(command._environ["MILLRACE_URL"]) as client:
        return client.batches.create(client.batches.upload(command.file)).id


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
