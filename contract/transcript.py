"""The text that a caller of a stream has been given, across attempts."""

from contract.errors import StreamDivergedError


class Transcript:
    """Joins the token events of all attempts of one job into one text without repeats.

    A job whose worker is lost runs again from the start, and its tokens come again. Each says
    at which character of its attempt it begins.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self.text = ""

    def add(self, offset: int, text: str) -> str:
        """The part of ``text``, which begins at character ``offset``, that is new.

        Text after a gap is held back: :meth:`complete` delivers it.

        Raises:
            StreamDivergedError: the repeated part is not what was given before.
        """
        known = self.text[offset : offset + len(text)]
        if not text.startswith(known):
            self._refuse(offset)
        if offset > len(self.text):
            return ""
        new = text[len(known) :]
        self.text += new
        return new

    def complete(self, text: str) -> str:
        """What the finished job's whole ``text`` adds. Raises like :meth:`add`."""
        if len(text) < len(self.text):
            self._refuse(len(text))
        return self.add(0, text)

    def _refuse(self, offset: int) -> None:
        raise StreamDivergedError(
            f"job {self._job_id} was run again and gave other text near character {offset} than"
            " what was streamed: discard it, and ask for the job's result"
        )
