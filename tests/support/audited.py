"""A store with a job in every situation, for an audit to find in order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from contract.errors import EngineError
from contract.settings import Settings
from contract.store import AttemptStore, Connection, JobStore, ReapStore
from tests.support.attempts import attempts, claim, finish
from tests.support.jobs import new_job


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The ids of its jobs by their situation, and raw access to what holds them."""

    redis: Any
    store: JobStore
    worker: AttemptStore
    reaper: ReapStore
    ids: Mapping[str, str]

    def __getitem__(self, situation: str) -> str:
        return self.ids[situation]


def scene(connection: Connection, settings: Settings) -> Scene:
    """Ended, dead, retried, running, shared and waiting jobs of one full worker ``w1``."""
    store = JobStore(connection, settings)
    worker = attempts(connection, replace(settings, slots=1, max_attempts=2))
    ids: dict[str, str] = {}

    def submit(situation: str, **changes: Any) -> None:
        ids[situation] = store.submit(new_job(**changes)).job.id

    submit("done", idempotency_key="k1")
    assert finish(worker, claim(worker))
    submit("cancelled")
    store.cancel(ids["cancelled"])
    submit("retrying")
    assert worker.fail(claim(worker), EngineError("stumbled")) == "retrying"
    strict = AttemptStore(connection, replace(settings, max_attempts=1), "w1")
    for situation in ("redriven", "dead"):
        submit(situation, priority=0)
        assert strict.fail(claim(worker), EngineError("stumbled")) == "dead"
    store.redrive(ids["redriven"])
    assert finish(worker, claim(worker))
    submit("cached", fingerprint="done already")
    assert finish(worker, claim(worker))
    submit("cached", fingerprint="done already")
    submit("running", deadline_s=600.0)
    assert claim(worker).job_id == ids["running"]
    submit("waiting", deadline_s=600.0)
    submit("leader", fingerprint="shared")
    submit("follower", fingerprint="shared")
    reaper = ReapStore(connection, settings)
    reaper.reap()
    return Scene(redis=connection.redis, store=store, worker=worker, reaper=reaper, ids=ids)
