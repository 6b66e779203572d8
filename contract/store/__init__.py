"""The job record in Redis: the only truth. Every transition is one Lua script in ``lua/``."""

from contract.store.attempts import AttemptStore, ClaimBlocked
from contract.store.channels import Presence, WakeUps
from contract.store.connection import Connection
from contract.store.devices import DeviceLease
from contract.store.jobs import JobStore
from contract.store.reaping import Reaped, ReapStore

__all__ = [
    "AttemptStore",
    "ClaimBlocked",
    "Connection",
    "DeviceLease",
    "JobStore",
    "Presence",
    "ReapStore",
    "Reaped",
    "WakeUps",
]
