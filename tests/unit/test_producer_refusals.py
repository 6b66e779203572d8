"""Refusals are told to the log by the dozen."""

from structlog.testing import capture_logs

from contract.errors import NotReplicatedError, QueueFullError
from producer.refusals import EVERY_S, Refusals


def test_a_flood_of_refusals_is_one_line_in_ten_seconds_for_each_code() -> None:
    now_s = [100.0]
    refusals = Refusals(lambda: now_s[0])
    with capture_logs() as said:
        for _ in range(1000):
            refusals.note(QueueFullError("full", 1))
        refusals.note(NotReplicatedError("alone"))
        now_s[0] += EVERY_S
        refusals.note(QueueFullError("full", 1))
    assert [(line["code"], line["count"]) for line in said] == [
        ("queue_full", 1), ("not_replicated", 1), ("queue_full", 1000),
    ]  # fmt: skip
