"""Composition root of the feeder: ``python -m producer.feeder.app``."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from contract.errors import MillraceError
from contract.logs import configure_logs
from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import BatchStore, FileStore, JobStore
from model_store.store import ModelStore
from producer.admission import Admission
from producer.catalog import Catalog
from producer.feeder.batch_run import Parts
from producer.feeder.feeder import Feeder
from producer.feeder.sweeping import Sweeper
from producer.storage import FileStorage
from producer.token_counter import TokenCount

_log = structlog.get_logger()


class _Uncounted:
    """Leaves it to the worker whether a prompt is too long: nobody waits for that answer."""

    def count(self, _folder: Any, _stored_input: Mapping[str, Any]) -> TokenCount:
        """Nothing is known."""
        return TokenCount()


def make_parts(settings: Settings) -> Parts:
    """What a feeder works with. Raises MissingDependencyError, SettingsError."""
    store = JobStore.connect(settings)
    catalog = Catalog(ModelStore(settings.models_dir))
    return Parts(
        store=store,
        batches=BatchStore(store.connection, lease_s=settings.lease_s),
        files=FileStore(store.connection),
        storage=FileStorage(settings.files_url),
        catalog=catalog,
        admission=Admission(
            catalog=catalog, store=store, hints=HintPublisher(settings), counter=_Uncounted()
        ),
        max_line_bytes=settings.max_body_bytes,
        file_ttl_s=settings.file_ttl_s,
    )


def main() -> int:
    """Run a feeder until SIGTERM or SIGINT; the exit status."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings.from_mapping(os.environ)
        configure_logs(settings.log_level, settings.log_format)
        parts = make_parts(settings)
        feeder = Feeder(parts, Sweeper(parts))
        gc.freeze()
        _log.info("feeder.ready", pid=os.getpid())
        feeder.run(stopping)
        _log.info("feeder.stopped")
    except MillraceError as error:
        print(f"millrace feeder: {error.detail} [{error.code}]", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
