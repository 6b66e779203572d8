"""``millrace submit`` of many jobs, against a real HTTP server whose answers the test writes."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.cli.main import run
from tests.support.http_stub import Answer, Asked, HttpStub, json_answer, problem

Captured = pytest.CaptureFixture[str]
NOT_HERE = {"status": 404, "error": {"code": "unknown_model", "detail": "no model has this name"}}
FULL = {"status": 429, "error": {"code": "queue_full", "detail": "full"}, "retry_after_s": 600}


class Server:
    """Accepts every job but those named in ``entries`` by their input; all are done at once."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.refusal: Answer | None = None
        self.stub = HttpStub(self._answer)

    def _answer(self, asked: Asked) -> Answer:
        if self.refusal is not None:
            return self.refusal
        if asked.path == "/api/v1/jobs:batch":
            return json_answer({"data": [self._entry(job) for job in asked.body["jobs"]]})
        if asked.path == "/api/v1/models":
            return json_answer({"data": [{"id": "tiny", "task": "generate"}]})
        job_id = asked.path.partition("?")[0].rpartition("/")[2]
        done = {"id": job_id, "status": "completed", "output": {"text": f"answer to {job_id}"}}
        return json_answer(self.jobs.get(job_id, done))

    def _entry(self, job: dict[str, Any]) -> dict[str, Any]:
        queued = {"id": f"job_{job['input']}", "status": "queued"}
        return self.entries.get(job["input"], {"status": 202, "job": queued})

    def run(self, *args: str) -> int:
        return run(args, {"MILLRACE_URL": self.stub.url})


@pytest.fixture
def server() -> Iterator[Server]:
    each = Server()
    with each.stub:
        yield each


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """Three jobs, on lines 1, 2 and 4."""
    file = tmp_path / "jobs.jsonl"
    rows = [{"input": "a", "priority": 0}, {"input": "b"}, {"input": "c", "model": "other"}]
    lines = [json.dumps(row) for row in rows]
    file.write_text("\n".join([*lines[:2], "  ", lines[2], ""]))
    return file


def test_ids_are_printed_in_the_order_of_the_file(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    assert server.run("submit", "--file", str(jobs), "--max-tokens", "5", "--priority", "3") == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == ["job_a", "job_b", "job_c"]
    assert "3 of 3 jobs accepted" in err
    asked = server.stub.asked[-1].body["jobs"]
    assert [job["model"] for job in asked] == ["tiny", "tiny", "other"]
    assert [job["priority"] for job in asked] == [0, 3, 3]
    assert {job["parameters"]["max_tokens"] for job in asked} == {5}


@pytest.mark.parametrize("where", ["file", "stdin"])
def test_each_line_of_text_is_a_prompt(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data = 'eins\r\n\nzwei "2"\u2028still\n'.encode()
    file = tmp_path / "prompts.txt"
    file.write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    name = str(file) if where == "file" else "-"
    assert server.run("submit", "--file", name, "--text", "--model", "tiny") == 0

    inputs = [job["input"] for job in server.stub.asked[-1].body["jobs"]]
    assert inputs == ["eins", 'zwei "2"\u2028still']


def test_a_file_of_another_name_is_one_prompt_unless_told_otherwise(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "jobs"
    file.write_text('{"input": "a"}\n')

    assert server.run("submit", "--file", str(file), "--jsonl", "--model", "tiny") == 0

    assert [job["input"] for job in server.stub.asked[-1].body["jobs"]] == ["a"]


def test_wrong_lines_are_named_by_number_before_anything_is_submitted(
    server: Server, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(b'{"input": "a"}\n{"input": \n\n[1]\n"text"\n\xff\n7\n')

    assert server.run("submit", "--file", str(file)) == 1

    out, err = capsys.readouterr()
    assert out == ""
    for words in (
        "line 2 is not JSON: Expecting value at column",
        "line 4 is an array, not a JSON object",
        "line 5 is a string",
        "line 6 is not UTF-8 text",
        "line 7 is a number",
        "nothing was submitted",
    ):
        assert words in err
    assert len(err.splitlines()) == 1
    assert server.stub.asked == []


def test_a_file_without_jobs_is_told(server: Server, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n \n")

    assert server.run("submit", "--file", str(file)) == 1
    assert "has no jobs" in capsys.readouterr().err


def test_a_refused_job_is_told_by_its_line_and_the_others_go_on(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    server.entries = {"c": NOT_HERE}

    assert server.run("submit", "--file", str(jobs)) == 1

    out, err = capsys.readouterr()
    assert out.splitlines() == ["job_a", "job_b"]
    assert "2 of 3 jobs accepted" in err
    assert "line 4: no model has this name" in err


def test_jobs_that_stay_refused_for_now_exit_with_4_and_tell_how_to_go_on(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    server.entries = {"c": FULL}

    assert server.run("submit", "--file", str(jobs), "--idempotency-key", "mine") == 4

    err = capsys.readouterr().err
    assert "--idempotency-key mine" in err
    assert server.stub.asked[-1].headers["Idempotency-Key"] == "mine.0"


def test_json_is_one_object_for_each_line(server: Server, jobs: Path, capsys: Captured) -> None:
    server.entries = {"b": NOT_HERE}

    assert server.run("submit", "--file", str(jobs), "--json") == 1

    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 4]
    assert [rows[0]["job"]["id"], rows[2]["job"]["id"]] == ["job_a", "job_c"]
    assert rows[1]["error"] == {
        "code": "unknown_model", "detail": "no model has this name", "retryable": False,
    }  # fmt: skip
    assert err == ""


def test_wait_prints_every_result_in_order_as_a_line_of_json(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    assert server.run("submit", "--file", str(jobs), "--wait") == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 4]
    texts = [row["job"]["output"]["text"] for row in rows]
    assert texts == ["answer to job_a", "answer to job_b", "answer to job_c"]


def test_a_job_that_failed_is_shown_and_exits_with_1_after_all_others(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    error = {"code": "poisoned", "message": "two losses"}
    server.jobs = {"job_a": {"id": "job_a", "status": "failed", "error": error}}

    assert server.run("submit", "--file", str(jobs), "--wait") == 1

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["job"]["status"] for row in rows] == ["failed", "completed", "completed"]


def test_jobs_that_do_not_end_in_time_are_told_and_exit_with_4(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    server.jobs = {"job_b": {"id": "job_b", "status": "in_progress"}}

    assert server.run("submit", "--file", str(jobs), "--wait", "--timeout", "0.2") == 4

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1]["error"]["code"] == "wait_timeout"
    assert [rows[0]["job"]["status"], rows[2]["job"]["status"]] == ["completed", "completed"]


def test_a_server_that_takes_none_is_told_in_one_line_with_how_to_go_on(
    server: Server, jobs: Path, capsys: Captured
) -> None:
    server.refusal = problem(503, "store_unavailable", "Redis is away", Retry_After="600")

    assert server.run("submit", "--file", str(jobs), "--model", "tiny") == 4

    out, err = capsys.readouterr()
    assert out == ""
    assert "--idempotency-key" in err
    assert err.splitlines()[-1] == "millrace: Redis is away"


@pytest.mark.parametrize(
    "words",
    ["--text", "--jsonl", "hello --file F --text", "--file F --text --jsonl",
     "--file F --text --stream", "--file F --text --system x", "--file F --text --timeout 3"],
)  # fmt: skip
def test_options_that_do_not_go_together_exit_with_2(words: str, capsys: Captured) -> None:
    assert run(["submit", *words.split()], {}) == 2
    assert capsys.readouterr().out == ""
