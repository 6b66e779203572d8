"""The file of a batch, which may go away while it is read."""

from collections.abc import Collection, Iterator

from contract.batch import LineError
from contract.errors import InvalidRequestError, UnknownFileError
from contract.store import FileStore
from producer.feeder.lines import Line, read_line
from producer.feeder.results import LINES_AT_ONCE
from producer.storage import FileStorage


class InputFile:
    """Reads the lines of a file from the first on."""

    def __init__(self, file_id: str, files: FileStore, storage: FileStorage) -> None:
        self._id = file_id
        self._files = files
        self._storage = storage
        self.passed = 0
        """How many lines have been read."""
        self.broken: LineError | None = None
        """Why nothing more can be read, if that is so."""

    def raw(self) -> Iterator[bytes]:
        """The lines as they are. A file that is gone has no more, and is ``broken``.

        Raises:
            StoreUnavailableError, StorageUnavailableError: they can be read later.
        """
        try:
            self._files.get(self._id)
            for number, line in enumerate(self._storage.lines(f"files/{self._id}"), 1):
                self.passed = number
                yield line
        except (UnknownFileError, FileNotFoundError):
            message = f"the file {self._id} was deleted, or its time was over"
            self.broken = LineError(code="input_file_missing", message=message)

    def lines(self, done: Collection[str]) -> Iterator[Line | None]:
        """The calls that are not ``done``; a None now and then, to let others have a turn."""
        for raw in self.raw():
            if raw.strip():
                try:  # whatever its length: it was taken when the file was looked at
                    line, _ = read_line(raw, self.passed, max_bytes=len(raw))
                except InvalidRequestError as error:
                    self.broken = LineError(
                        code="invalid_line", message=error.detail, line=self.passed
                    )
                    return
                if line.custom_id not in done:
                    yield line
            if self.passed % LINES_AT_ONCE == 0:
                yield None
