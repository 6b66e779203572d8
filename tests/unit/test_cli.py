"""The command line against a real HTTP server whose answers the test writes."""

import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest

from millrace.cli.main import root, run
from tests.support.http_stub import Answer, Asked, HttpStub, json_answer, problem, sse

DONE = {
    "id": "job_1",
    "status": "completed",
    "model": "tiny",
    "output": {"text": "Paris.", "finish_reason": "stop"},
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_tokens": 0},
}
FAILED = {"id": "job_1", "status": "failed", "error": {"code": "poisoned", "message": "two losses"}}
EVENTS = (
    ("1-0", "token", {"attempt": 1, "offset": 0, "text": "Par"}),
    ("2-0", "token", {"attempt": 1, "offset": 3, "text": "is."}),
    ("3-0", "done", {"status": "completed"}),
)


def listed(*rows: dict[str, Any]) -> Answer:
    return json_answer({"object": "list", "data": list(rows), "has_more": False})


class Server:
    """Answers by the end of the path; ``job`` is what it says of every job."""

    def __init__(self) -> None:
        self.job: dict[str, Any] = dict(DONE)
        self.refusal: Answer | None = None
        self.stub = HttpStub(self._answer)

    def _answer(self, asked: Asked) -> Answer:
        if self.refusal is not None:
            return self.refusal
        path = asked.path.partition("?")[0]
        if path.endswith("/events"):
            return sse(*EVENTS)
        if path == "/api/v1/jobs" and asked.method == "POST":
            return json_answer({"id": "job_1", "status": "queued", "queue_position": 3}, 202)
        if path == "/api/v1/models":
            return listed({"id": "tiny", "task": "generate"})
        if path == "/api/v1/workers":
            models = [{"model": "tiny", "version": 1}]
            return listed({"id": "w1", "pid": 7, "device": "cpu", "models": models, "slots": 4})
        if path == "/api/v1/queues":
            return listed({"id": "q", "model": "tiny", "model_version": 1, "pending": 2})
        if path in ("/api/v1/jobs", "/api/v1/dead"):
            return listed(self.job)
        return json_answer(self.job)

    def run(self, *args: str) -> int:
        return run(args, {"MILLRACE_URL": self.stub.url})


@pytest.fixture
def server() -> Iterator[Server]:
    each = Server()
    with each.stub:
        yield each


Captured = pytest.CaptureFixture[str]


def test_submit_prints_the_id_alone_on_stdout(server: Server, capsys: Captured) -> None:
    assert server.run("submit", "hello") == 0
    out, err = capsys.readouterr()
    assert out == "job_1\n"
    assert "queued, number 3 in line" in err


def test_submit_leaves_the_task_to_the_model(server: Server) -> None:
    assert server.run("submit", "hello", "--model", "minilm", "--wait") == 0

    (asked, *_) = server.stub.asked
    assert asked.body == {"model": "minilm", "input": "hello", "parameters": {}}


def test_submit_passes_every_option_on(server: Server) -> None:
    words = (
        "submit hello --model tiny --task generate --system be-brief --max-tokens 5"
        " --temperature 0.5 --top-p 0.9 --top-k 3 --seed 7 --stop END --stop DONE --priority 1"
        " --deadline 30 --metadata a=b=c --no-cache --idempotency-key mine"
    )
    assert server.run(*words.split()) == 0
    (asked,) = server.stub.asked
    assert asked.headers["Idempotency-Key"] == "mine"
    assert asked.body == {
        "model": "tiny",
        "task": "generate",
        "input": [
            {"role": "system", "content": "be-brief"},
            {"role": "user", "content": "hello"},
        ],
        "parameters": {
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "seed": 7,
            "stop": ["END", "DONE"],
        },
        "priority": 1,
        "deadline_s": 30.0,
        "metadata": {"a": "b=c"},
        "cache": False,
    }


def test_submit_wait_prints_the_answer_alone(server: Server, capsys: Captured) -> None:
    assert server.run("submit", "hello", "--wait") == 0
    assert capsys.readouterr() == ("Paris.\n", "")


def test_submit_stream_prints_pieces_and_sums_up_on_stderr(
    server: Server, capsys: Captured
) -> None:
    assert server.run("submit", "hello", "--stream") == 0
    out, err = capsys.readouterr()
    assert out == "Paris.\n"
    assert err.startswith("[tiny: 2 tokens in ")


def test_submit_stream_in_json_is_one_object_per_line(server: Server, capsys: Captured) -> None:
    assert server.run("submit", "hello", "--stream", "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["type"] for row in rows] == ["text", "text", "job"]
    assert "".join(row["text"] for row in rows[:2]) == rows[2]["job"]["output"]["text"]
    assert err == ""


def test_the_prompt_comes_from_stdin_or_a_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é?".encode())))
    assert server.run("submit", "-") == 0
    (tmp_path / "prompt").write_text("from a file")
    assert server.run("submit", "--file", str(tmp_path / "prompt")) == 0
    posts = [each for each in server.stub.asked if each.method == "POST"]
    assert [each.body["input"] for each in posts] == ["é?", "from a file"]


def test_a_prompt_that_is_not_utf_8_is_refused_here(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert server.run("submit", "-") == 1
    assert capsys.readouterr().err == "millrace: stdin is not UTF-8 text: invalid start byte\n"


def test_a_failed_job_is_told_on_stderr_with_exit_code_1(server: Server, capsys: Captured) -> None:
    server.job = FAILED
    assert server.run("result", "job_1", "--wait") == 1
    assert capsys.readouterr() == ("", "millrace: job job_1 failed: two losses\n")


def test_a_failed_job_in_json_is_on_stdout_and_its_error_on_stderr(
    server: Server, capsys: Captured
) -> None:
    server.job = FAILED
    assert server.run("result", "job_1", "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "failed"
    detail = "job job_1 failed: two losses"
    assert json.loads(err) == {"code": "poisoned", "detail": detail, "retryable": False}


def test_a_result_that_is_not_there_yet_exits_with_4(server: Server, capsys: Captured) -> None:
    server.job = {"id": "job_1", "status": "in_progress"}
    assert server.run("result", "job_1") == 4
    assert "is in_progress" in capsys.readouterr().err


def test_an_unknown_job_exits_with_1(server: Server, capsys: Captured) -> None:
    server.refusal = problem(404, "unknown_job", "there is no job job_9")
    assert server.run("status", "job_9") == 1
    assert capsys.readouterr().err == "millrace: there is no job job_9\n"


def test_wrong_fields_are_named_in_the_one_line(server: Server, capsys: Captured) -> None:
    row = {"pointer": "/parameters/max_tokens", "detail": "must be at least 1"}
    body = {"code": "invalid_request", "detail": "1 field is wrong", "errors": [row]}
    server.refusal = json_answer(body, 422)
    assert server.run("submit", "hello", "--model", "tiny") == 1
    assert capsys.readouterr().err == (
        "millrace: 1 field is wrong (/parameters/max_tokens must be at least 1)\n"
    )


def test_no_server_exits_with_3_in_one_line(capsys: Captured) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert run(["workers", "--url", url], {}) == 3
    assert capsys.readouterr().err == (
        f"millrace: no Millrace at {url}: start one with `millrace up`, or set MILLRACE_URL\n"
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"MILLRACE_PROT": "1"}, "MILLRACE_PROT is not a setting"),
        ({"MILLRACE_PORT": "many"}, "MILLRACE_PORT='many' must be a whole number"),
    ],
)
def test_a_bad_setting_exits_with_2_and_names_itself(
    environ: dict[str, str], words: str, capsys: Captured
) -> None:
    for command in ("up", "api", "worker", "workers"):
        assert run([command], environ) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_a_wrong_command_line_exits_with_2(capsys: Captured) -> None:
    assert run(["status"], {}) == 2
    assert "Missing argument 'JOB_ID'" in capsys.readouterr().err
    assert run(["submit", "x", "--metadata", "nothing", "--json"], {}) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("status job_1", "job_1"),
        ("cancel job_1", "job_1"),
        ("jobs", "job_1"),
        ("workers", "w1"),
        ("queues", "tiny"),
        ("dead", "job_1"),
        ("redrive job_1", "job_1"),
    ],
)
def test_every_answer_has_a_form_for_people_and_one_for_machines(
    words: str, named: str, server: Server, capsys: Captured
) -> None:
    assert server.run(*words.split()) == 0
    assert named in capsys.readouterr().out
    assert server.run(*words.split(), "--json") == 0
    machines = json.loads(capsys.readouterr().out)
    (row,) = machines.get("data", [machines])
    assert named in row.values()
    assert ("data" in machines) == (machines.get("object") == "list")


def test_every_command_takes_json() -> None:
    def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                yield from leaves(each, f"{path} {name}")
        else:
            yield path, command

    commands = dict(leaves(root, "millrace"))
    assert len(commands) > 15
    for path, command in commands.items():
        assert any("--json" in each.opts for each in command.params), path


def test_python_m_millrace_is_the_command_and_says_its_version() -> None:
    command = [sys.executable, "-m", "millrace"]
    text = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    machine = subprocess.run(
        [*command, "--json", "--version"], capture_output=True, text=True, check=True
    )
    assert text.stdout == f"millrace {json.loads(machine.stdout)['version']}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    listing = [sys.executable, "-m", "millrace", "--help"]
    with subprocess.Popen(listing, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
