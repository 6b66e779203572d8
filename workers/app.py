"""The composition root of a worker: ``python -m workers.app``."""

import gc
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_shutting_down

from contract.errors import MillraceError
from contract.logs import configure_logs
from contract.queues import TASK_NAME, HintPublisher, make_celery, queue_name
from contract.reaper import Reaper
from contract.settings import Settings
from contract.store import AttemptStore, Connection, DeviceLease, ReapStore
from contract.threads import when_a_thread_dies
from model_store.manifest import ModelVersion
from model_store.runtime import available_providers
from model_store.store import ModelStore
from workers.consumer import HintConsumer
from workers.devices import DeviceKeeper, Gpu, choose_device, list_gpus
from workers.engine import Engine, check_fitness, open_engine
from workers.executor import Executor, Served
from workers.health import Unfit, abandon_process
from workers.leases import LeaseKeeper
from workers.publisher import TokenPublisher
from workers.watch import Watch

_log = structlog.get_logger(__name__)


def open_fit_engine(version: ModelVersion, *, slots: int, threads: int, device: str) -> Engine:
    """An engine that has answered its golden prompts as recorded. Raises UnfitWorkerError."""
    engine = open_engine(version, slots=slots, threads=threads, device=device)
    check_fitness(engine, version)
    return engine


class Worker:
    """One process on one device, serving every model of MILLRACE_MODEL.

    The models are loaded and checked before Celery starts: what is unfit never registers.

    Args:
        open_engine: makes the engine of each version that is served.
        make_store: makes the store through which this worker holds jobs.
    """

    def __init__(
        self,
        settings: Settings,
        environment: "os._Environ[str]",
        *,
        open_engine: Callable[..., Engine] = open_fit_engine,
        make_store: Callable[[Connection, Settings, str], AttemptStore] = AttemptStore,
    ) -> None:
        self._settings = settings
        self._open_engine = open_engine
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        connection = Connection(settings.redis_url)
        self._gpu = self._pin(connection, environment)
        self._versions = _load_versions(settings)
        self._served = {
            queue: self._open(queue, version) for queue, version in self._versions.items()
        }
        most = max(served.slots for served in self._served.values())
        self._store = make_store(connection, replace(settings, slots=most), self.id)
        self._hints = HintPublisher(settings)
        self._reaper = Reaper(ReapStore(connection, settings), self._hints)
        self._leases = LeaseKeeper(
            self._store,
            queues=list(self._served),
            lease_s=settings.lease_s,
            register=self._register,
        )
        self._watch = Watch(
            self._leases,
            [served.engine for served in self._served.values()],
            stall_s=settings.stall_s,
            on_unfit=self._abandon,
        )
        self._publisher = TokenPublisher(self._store, on_lost=self._leases.lose)
        self._executor = Executor(
            self._served, self._store, self._leases, self._publisher, self._hints
        )

    @property
    def device(self) -> str:
        """What the registry says of the device."""
        return "cpu" if self._gpu is None else f"cuda:{self._gpu.index}"

    def run(self) -> int:
        """Serve until told to stop; the exit status."""
        app = make_celery(self._settings)

        @app.task(name=TASK_NAME, bind=True)
        def run_next(task: Any) -> None:
            self._executor.run_next(task.request.delivery_info["routing_key"])

        stopping = self._on_stopping  # Celery keeps weak references to receivers
        worker_shutting_down.connect(stopping)
        celery = self._celery_worker(app)
        when_a_thread_dies(lambda why: self._abandon(Unfit(cause="worker_failed", reason=why)))
        # Before the first claim: a worker that dies must be one that the reaper knows.
        self._publisher.start()
        self._leases.start()
        self._watch.start()
        self._reaper.start()
        gc.freeze()  # to look through all that was imported would hold up every job for 60 ms
        try:
            celery.start()
        finally:
            threading.excepthook = threading.__excepthook__
            self._close()
        return int(celery.exitcode or 0)

    def _celery_worker(self, app: Celery) -> Any:
        app.events.dispatcher_cls = "workers.worker_events:WorkerEvents"
        return app.Worker(
            hostname=f"millrace@{self.id}",
            pool="threads",
            consumer_cls=HintConsumer,
            concurrency=sum(served.slots for served in self._served.values()),
            queues=list(self._served),
            loglevel="WARNING",  # of Celery, which would log two lines per job
            without_gossip=True,
            without_mingle=True,
            task_events=True,
            quiet=True,
        )

    def _pin(self, connection: Connection, environment: "os._Environ[str]") -> Gpu | None:
        """Lease a GPU and hide the others from CUDA, which must not be loaded yet."""
        lease = DeviceLease(connection, self.id, self._settings.lease_s)
        gpu = choose_device(
            self._settings.device,
            gpus=list_gpus(),
            cuda_installed="CUDAExecutionProvider" in available_providers(),
            lease=lease,
            patience_s=self._settings.lease_s + 1,
        )
        self._device_keeper = None
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu.uuid
            self._device_keeper = DeviceKeeper(
                gpu,
                lease,
                every_s=self._settings.lease_s / 4,
                on_lost=lambda: abandon_process(f"another worker leased GPU {gpu.index}"),
            )
            self._device_keeper.start()
        return gpu

    def _open(self, queue: str, version: ModelVersion) -> Served:
        device = "cpu" if self._gpu is None else "cuda:0"  # the only one that CUDA sees
        engine = self._open_engine(
            version,
            slots=self._settings.slots,
            threads=self._settings.threads,
            device=device,
        )
        return Served(queue=queue, engine=engine, slots=engine.slots)

    def _abandon(self, unfit: Unfit) -> None:
        self._leases.state = "draining"
        abandon_process(unfit.reason, last_words=lambda: self._store.abandon(unfit.cause))

    def _register(self) -> None:
        lacking = self._store.register(
            queues={
                queue: {"model": v.name, "version": v.version, "digest": v.digest}
                for queue, v in self._versions.items()
            },
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self.device,
            models=[_model_row(self._served[q], v) for q, v in self._versions.items()],
            slots=sum(served.slots for served in self._served.values()),
            state=self._leases.state,
        )
        _log.info("worker.registered", worker=self.id, device=self.device)
        for queue, hints in lacking.items():
            self._hints.publish(queue, hints)

    def _on_stopping(self, **_: Any) -> None:
        _log.info("worker.draining", worker=self.id, grace_s=self._settings.drain_s)
        self._leases.state = "draining"
        self._executor.drain(self._settings.drain_s)

    def _close(self) -> None:
        self._reaper.stop()
        self._watch.stop()
        for served in self._served.values():
            if served.engine.failure is not None:
                # Its jobs must not be given back as if it had gone in order.
                self._abandon(Unfit(cause="engine_failed", reason=served.engine.failure.detail))
        self._leases.stop()
        self._publisher.stop()
        try:
            self._store.unregister(self._served)
        except MillraceError as error:
            _log.warning("worker.not_unregistered", worker=self.id, error=error.detail)
        for served in self._served.values():
            served.engine.close()
        if self._device_keeper is not None:
            self._device_keeper.stop()
        _log.info("worker.stopped", worker=self.id)


def _load_versions(settings: Settings) -> Mapping[str, ModelVersion]:
    """The versions to serve, their files verified, by queue."""
    store = ModelStore(settings.models_dir)
    versions = [store.verify(name) for name in settings.model]
    return {queue_name(v.name, v.digest): v for v in versions}


def _model_row(served: Served, version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.name,
        "version": version.version,
        "digest": version.digest,
        "task": version.manifest.task,
        "queue": served.queue,
        "slots": served.slots,
    }


def main(make_worker: Callable[[Settings, "os._Environ[str]"], Worker] = Worker) -> int:
    """Run a worker; the exit status."""
    try:
        settings = Settings.from_mapping(os.environ)
        configure_logs(settings.log_level, settings.log_format)
        return make_worker(settings, os.environ).run()
    except MillraceError as error:
        print(f"millrace worker: {error.detail} [{error.code}]", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
