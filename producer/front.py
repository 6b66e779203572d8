"""What the views work with."""

from dataclasses import dataclass

from contract.queues import HintPublisher
from contract.settings import Settings
from contract.store import JobStore
from producer.admission import Admission
from producer.catalog import Catalog
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
