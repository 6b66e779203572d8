"""The job record in Redis: the only truth. Every transition is one Lua script in ``lua/``."""

from contract.store.attempts import AttemptStore, ClaimBlocked, Finished, TokenEvent
from contract.store.batches import BatchStore
from contract.store.channels import ENDED, Presence, WakeUps
from contract.store.connection import Connection
from contract.store.devices import DeviceLease
from contract.store.files import FileStore
from contract.store.jobs import EVENTS_AT_ONCE, JobStore
from contract.store.reaping import Reaped, ReapStore
from contract.store.responses import ResponseStore
from contract.store.submits import SUBMITS_AT_ONCE
from contract.store.taken import TakenText

__all__ = [
    "ENDED",
    "EVENTS_AT_ONCE",
    "SUBMITS_AT_ONCE",
    "AttemptStore",
    "BatchStore",
    "ClaimBlocked",
    "Connection",
    "DeviceLease",
    "FileStore",
    "Finished",
    "JobStore",
    "Presence",
    "ReapStore",
    "Reaped",
    "ResponseStore",
    "TakenText",
    "TokenEvent",
    "WakeUps",
]
