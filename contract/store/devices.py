"""A GPU is leased in Redis by its UUID, so that two workers of one host never share one."""

from contract.store.connection import Connection


class DeviceLease:
    """Leases on devices by one owner. Raises StoreUnavailableError."""

    def __init__(self, connection: Connection, owner: str, lease_s: float) -> None:
        self._connection = connection
        self._owner = owner
        self._lease_ms = int(lease_s * 1000)

    def keep(self, uuid: str) -> bool:
        """Take the device, or renew the lease on it; False while another owner has it."""
        return bool(self._connection.run("keep_device", uuid, self._owner, self._lease_ms))

    def give_back(self, uuid: str) -> None:
        """Let others have the device."""
        self._connection.run("return_device", uuid, self._owner)
