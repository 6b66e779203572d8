"""What keeps the stack from starting, or from staying up."""

from contract.errors import MillraceError


class PortInUseError(MillraceError):
    """A port that must be listened on is held by another process."""

    code = "port_in_use"


class ProcessFailedError(MillraceError):
    """A supervised child process could not be kept alive; the detail ends with its last lines."""

    code = "process_failed"


class StoreUnfitError(MillraceError):
    """Redis answers, but may not hold jobs: too old, or set to drop keys."""

    code = "store_unfit"


class DataDirInUseError(MillraceError):
    """Another `millrace up` runs on the same data folder."""

    code = "data_dir_in_use"
