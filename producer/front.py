"""What the views work with."""

from dataclasses import dataclass

from contract.job import Job
from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import BatchStore, FileStore, JobStore, ResponseStore, TakenText
from producer.admission import Admission
from producer.catalog import Catalog
from producer.storage import FileStorage
from producer.wakeups import EventHub


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The collaborators of every view, made once for each process."""

    settings: Settings
    store: JobStore
    catalog: Catalog
    hints: HintPublisher
    admission: Admission
    hub: EventHub
    files: FileStore
    batches: BatchStore
    storage: FileStorage
    responses: ResponseStore
    taken: TakenText

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that waited for the same answer may have to run now.

        Raises:
            UnknownJobError, JobGoneError: there is no record.
            StoreUnavailableError: Redis did not answer.
        """
        job, heirs_queue = self.store.cancel(job_id)
        if heirs_queue:
            self.hints.publish(heirs_queue)
        return job
