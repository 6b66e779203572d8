"""The first run as a user has it: one command, the real model, a real answer; then the command."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.store import SOURCES
from tests.support.up_process import UpProcess

QUESTION = "What is the capital of France?"

pytestmark = pytest.mark.timeout(600)

KEPT = Path(__file__).parents[2] / ".millrace" / "models" / SOURCES


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model store of all tests here, so that the weights are converted once.

    What `make run` has downloaded on this machine is not downloaded again.
    """
    root = tmp_path_factory.mktemp("models")
    if KEPT.is_dir():
        shutil.copytree(KEPT, root / SOURCES)
    return root


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[UpProcess]:
    """`millrace up --demo --exit` with no model there; it has ended."""
    folder = tmp_path_factory.mktemp("first")
    each = UpProcess(folder, "--demo", "--exit", models=models, model="smollm2").start()
    try:
        each.wait(timeout_s=300)
        yield each
    finally:
        each.end()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, first_run: UpProcess) -> Iterator[UpProcess]:
    """A stack that serves the model which the first run has made."""
    models = Path(first_run.environ["MILLRACE_MODELS_DIR"])
    each = UpProcess(tmp_path_factory.mktemp("serving"), models=models, model="smollm2").start()
    try:
        yield each.until("Ctrl-C stops everything.", timeout_s=300)
        each.signal(signal.SIGINT)
        assert each.wait() == 0
        each.assert_gone()
    finally:
        each.end()


def millrace(up: UpProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user types it, beside the running stack."""
    command = [sys.executable, "-m", "millrace", *arguments]
    return subprocess.run(
        command, env=up.environ, capture_output=True, text=True, timeout=120, check=False
    )


def test_one_command_imports_the_model_answers_and_leaves_nothing(first_run: UpProcess) -> None:
    said = first_run.text()
    assert first_run.process.returncode == 0, said
    answer = said.partition(f"> {QUESTION}")[2]
    assert "Paris" in answer.splitlines()[1], said
    assert "tokens/s" in answer
    first_run.assert_gone()


def test_the_second_start_takes_the_model_as_it_is(serving: UpProcess) -> None:
    assert "model smollm2:1 (fp32, 544 MB) is here" in serving.text()


def test_the_command_streams_a_sensible_answer(serving: UpProcess) -> None:
    done = millrace(serving, "submit", "--stream", "--no-cache", "--max-tokens", "32", QUESTION)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "tokens in" in done.stderr


def test_a_job_is_submitted_watched_and_read_in_separate_commands(serving: UpProcess) -> None:
    job_id = millrace(serving, "submit", "--max-tokens", "8", "Say hello.").stdout.strip()
    waited = millrace(serving, "result", job_id, "--wait", "--json")
    assert waited.returncode == 0, waited.stderr
    job = json.loads(waited.stdout)
    assert job["id"] == job_id
    assert job["usage"]["completion_tokens"] == 8
    assert millrace(serving, "result", job_id).stdout.strip() == job["output"]["text"].strip()
    listed = json.loads(millrace(serving, "jobs", "--json").stdout)
    assert job_id in [each["id"] for each in listed["data"]]


def test_a_running_job_is_cancelled(serving: UpProcess) -> None:
    text = "Write a very long story about the sea."
    job_id = millrace(serving, "submit", "--no-cache", "--max-tokens", "4000", text).stdout.strip()
    assert millrace(serving, "cancel", job_id).stdout == f"{job_id} cancelled\n"
    result = millrace(serving, "result", job_id, "--json")
    assert result.returncode == 1
    assert json.loads(result.stderr)["code"] == "cancelled"


def test_a_stream_goes_on_when_its_worker_is_killed(serving: UpProcess) -> None:
    asked = ("--no-cache", "--max-tokens", "60", "Tell me about the sea.")
    undisturbed = millrace(serving, "submit", "--wait", *asked)
    (row,) = json.loads(millrace(serving, "workers", "--json").stdout)["data"]
    command = [sys.executable, "-m", "millrace", "submit", "--stream", *asked]
    with subprocess.Popen(
        command,
        env=serving.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # communicate() knows nothing of what a buffer holds
    ) as streaming:
        assert streaming.stdout is not None
        first = streaming.stdout.read(20)
        os.kill(row["pid"], signal.SIGKILL)
        rest, errors = streaming.communicate(timeout=120)
    assert streaming.returncode == 0, errors
    assert (first + rest).decode() == undisturbed.stdout
    killed = "was killed by SIGKILL (by hand, or for want of memory); starting it again"
    assert killed in serving.text()


def test_the_doctor_finds_nothing_wrong(serving: UpProcess) -> None:
    found = millrace(serving, "doctor", "--json")
    report = json.loads(found.stdout)
    assert found.returncode == 0, report
    wrong = [each for each in report["findings"] if each["level"] != "ok"]
    assert [each for each in wrong if "folder" not in each["check"]] == []  # disk space
    (model,) = [each for each in report["findings"] if each["check"] == "model smollm2"]
    assert "every file is whole" in model["detail"]
