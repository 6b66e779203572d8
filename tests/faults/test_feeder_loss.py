"""The feeder of a batch dies again and again, and workers with it."""

import json
import signal
import time
from pathlib import Path

import pytest

from millrace.client import Client
from tests.support.feeding import chat_line, jsonl
from tests.support.lab import Lab
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(300)

LEASE_S = 2


@pytest.mark.parametrize("victims", ["feeder", "feeder and workers"])
def test_every_line_of_a_batch_is_answered_once_whatever_dies(
    tmp_path: Path, full: bool, victims: str
) -> None:
    lines, kills = (4000, 20) if full else (1000, 4)
    lab = Lab(tmp_path, workers=2, token_s=0.02, LEASE_S=str(LEASE_S)).start()
    feeder = _feeder(lab)
    file = tmp_path / "in.jsonl"
    rows = [
        chat_line(f"n{number}", f"text {number}", max_completion_tokens=4, temperature=0)
        for number in range(lines)
    ]
    file.write_bytes(jsonl(*rows))
    try:
        with Client(lab.fronts[0].url) as client:
            batch = client.batches.create(client.batches.upload(file)).id
            done = 0
            for _ in range(kills):
                done += lines // (kills + 2)
                eventually(lambda done=done: lab.completed() >= done, timeout_s=60)  # type: ignore[misc]
                feeder.kill()
                if victims != "feeder":
                    lab.workers[0].kill()  # which the lab starts again
                feeder = _feeder(lab)
            ended = client.batches.wait(batch)
            output = tmp_path / "out.jsonl"
            client.batches.download(str(ended.output_file_id), output)

        assert (ended.status, ended.completed, ended.failed) == ("completed", lines, 0)
        names = [json.loads(line)["custom_id"] for line in output.read_bytes().splitlines()]
        assert sorted(names) == sorted(f"n{number}" for number in range(lines))
        assert lab.completed() == lines
    finally:
        feeder.kill()
        lab.stop()


def test_a_feeder_that_is_told_to_stop_leaves_its_batch_to_another_at_once(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path, workers=1, token_s=0.02, LEASE_S="60").start()
    first = _feeder(lab)
    file = tmp_path / "in.jsonl"
    file.write_bytes(jsonl(*(chat_line(f"n{n}", f"text {n}", max_tokens=4) for n in range(400))))
    try:
        with Client(lab.fronts[0].url) as client:
            batch = client.batches.create(client.batches.upload(file)).id
            eventually(lambda: lab.completed() > 50, timeout_s=30)
            first.signal(signal.SIGTERM)
            assert first.wait() == 0
            second = _feeder(lab)
            began_s = time.monotonic()
            ended = client.batches.wait(batch)
            second.kill()
        assert ended.completed == 400
        assert time.monotonic() - began_s < 60  # no lease ran out for it
        assert lab.completed() == 400
    finally:
        lab.stop()


def _feeder(lab: Lab) -> WorkerProcess:
    return WorkerProcess(lab.environment, lab.folder / "logs", module="producer.feeder.app").start()
