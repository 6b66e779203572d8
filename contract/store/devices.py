"""A GPU is leased in Redis by its UUID, so that two workers of one host never share one."""

from contract import keys
from contract.store.connection import Connection, translated

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_GIVE_BACK = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class DeviceLease:
    """Leases on devices by one owner. Raises StoreUnavailableError."""

    def __init__(self, connection: Connection, owner: str, lease_s: float) -> None:
        self._connection = connection
        self._owner = owner
        self._lease_ms = int(lease_s * 1000)

    def take(self, uuid: str) -> bool:
        """Take the device unless another owner has it."""
        with translated():
            return bool(
                self._connection.redis.set(
                    keys.DEVICE(uuid), self._owner, nx=True, px=self._lease_ms
                )
            )

    def renew(self, uuid: str) -> bool:
        """Keep the device; takes it anew when the lease was lost and is free; False otherwise."""
        with translated():
            kept = self._connection.redis.eval(
                _RENEW, 1, keys.DEVICE(uuid), self._owner, str(self._lease_ms)
            )
        return bool(kept) or self.take(uuid)

    def give_back(self, uuid: str) -> None:
        """Let others have the device."""
        with translated():
            self._connection.redis.eval(_GIVE_BACK, 1, keys.DEVICE(uuid), self._owner)
