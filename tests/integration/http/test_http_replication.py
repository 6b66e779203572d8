"""What a front answers when too few replicas have what it was asked to keep."""

import json

from tests.integration.http.conftest import MakeFront
from tests.support.problems import JOBS, problem


def test_without_its_replica_nothing_is_promised_and_the_client_is_told_to_repeat(
    make_front: MakeFront,
) -> None:
    client = make_front(min_replicas="1").app.test_client()

    refused = client.post(
        JOBS, json={"model": "tiny", "input": "x"}, headers={"Idempotency-Key": "one"}
    )

    found = problem(refused, 503, "not_replicated")
    assert found["retryable"]
    assert "Idempotency-Key" in found["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    again = client.post(
        JOBS, json={"model": "tiny", "input": "x"}, headers={"Idempotency-Key": "one"}
    )
    problem(again, 503, "not_replicated")
    jobs = json.loads(client.get(JOBS).data)["data"]
    assert [job["status"] for job in jobs] == ["queued"]
    problem(client.post(f"{JOBS}/{jobs[0]['id']}/cancel"), 503, "not_replicated")
    assert json.loads(client.get(JOBS).data)["data"][0]["status"] == "cancelled"
    assert client.post(f"{JOBS}/job_nobody_knows/cancel").status_code == 404
