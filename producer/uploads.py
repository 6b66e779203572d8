"""A file sent as multipart/form-data, written where it stays while it comes in."""

import time
from typing import Any, BinaryIO, TypeVar, cast

from flask import Request
from pydantic import BaseModel
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from contract.errors import (
    BodyTooLargeError,
    FieldError,
    InvalidRequestError,
    MalformedBodyError,
)
from producer.parsing import parse_body

Form = TypeVar("Form", bound=BaseModel)

#: What a body may have beside the file: its other fields, and what is between the parts. The parser
#: holds no more of any part at once, and refuses less than two of its own pieces of 64 KiB.
_FRAME_BYTES = 512 << 10
_MOST_PARTS = 16


class _Counted:
    """The file as the parser writes it; other requests have their turns between two pieces."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0

    def write(self, piece: bytes) -> int:
        time.sleep(0)
        self.size += len(piece)
        return self._stream.write(piece)

    def seek(self, _: int) -> None:
        """The parser goes back to the start at the end, for whoever would read now."""


def read_upload(
    request: Request, form: type[Form], into: BinaryIO, *, max_bytes: int
) -> tuple[Form, str, int]:
    """Write the part ``file`` to ``into``; the other parts as ``form``, its name and its size.

    Raises:
        UnsupportedMediaType: the body is not multipart/form-data.
        BodyTooLargeError: the file has more than ``max_bytes``.
        MalformedBodyError, InvalidRequestError: a part is wrong or missing.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("send the body as multipart/form-data")
    too_large = BodyTooLargeError(f"the file is larger than the {max_bytes} bytes that one may be")
    request.max_content_length = max_bytes + _FRAME_BYTES
    counted: list[_Counted] = []

    def open_part(*_: Any, **__: Any) -> Any:
        if counted:
            raise InvalidRequestError("the body holds more than one file")
        counted.append(_Counted(into))
        return counted[0]

    parser = FormDataParser(
        stream_factory=cast("Any", open_part),
        max_form_memory_size=_FRAME_BYTES,
        max_form_parts=_MOST_PARTS,
        silent=False,
    )
    try:
        _, fields, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
    except RequestEntityTooLarge:
        raise too_large from None
    except ValueError as error:
        raise MalformedBodyError(f"the body is not multipart/form-data: {error}") from None
    file = files.get("file")
    if file is None:
        missing = FieldError(pointer="/file", detail="is missing: send it as a file, with a name")
        raise InvalidRequestError("body: /file is missing", [missing])
    if counted[0].size > max_bytes:
        raise too_large
    twice = next((name for name in fields if len(fields.getlist(name)) > 1), None)
    if twice is not None:
        raise InvalidRequestError(f"the body holds the field {twice[:64]!r} twice")
    return parse_body(form, fields.to_dict()), file.filename or "file", counted[0].size
