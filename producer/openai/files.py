"""/v1/files: what batches read and write."""

import secrets
import time
from collections.abc import Iterator
from typing import BinaryIO

from flask import Response, request

from contract import errors
from contract.errors import MillraceError, UnknownFileError
from producer.api import Answer, Api, Reply
from producer.front import Front
from producer.openai.file_schemas import (
    FileDeleted,
    FileForm,
    FileList,
    FileObject,
    FilesQuery,
    edge,
    file_object,
)
from producer.openai.problems import OPENAI
from producer.storage import PIECE_BYTES
from producer.uploads import read_upload

PATH = "/v1/files"
_STORES = (errors.StoreUnavailableError, errors.StorageUnavailableError)


def add_files(api: Api, front: Front) -> None:
    """Serve files."""
    settings, files, storage = front.settings, front.files, front.storage

    @api.operation(
        "POST",
        PATH,
        tag="openai",
        dialect=OPENAI,
        upload=FileForm,
        max_body_bytes=settings.max_file_bytes,
        replies=(Reply(status=200, meaning="The file is stored.", body=FileObject),),
        errors=(errors.BodyTooLargeError, *_STORES),
    )
    def create_file() -> Answer:
        """Upload a file.

        One whose purpose is `batch` holds a call on each line. It is kept for 30 days, any other
        until it is deleted, unless `expires_after` says otherwise.
        """
        file_id = f"file-{secrets.token_hex(12)}"
        with storage.write(f"files/{file_id}") as stream:
            form, name, size = read_upload(
                request, FileForm, stream, max_bytes=settings.max_file_bytes
            )
        usual = settings.file_ttl_s if form.purpose == "batch" else None
        kept_s = usual if form.seconds is None else form.seconds
        try:
            file = files.put(file_id, name=name, purpose=form.purpose, size=size, ttl_s=kept_s)
        except MillraceError:
            storage.delete(f"files/{file_id}")
            raise
        return Answer(body=file_object(file))

    @api.operation(
        "GET",
        PATH,
        tag="openai",
        dialect=OPENAI,
        query=FilesQuery,
        replies=(Reply(status=200, meaning="A page of files.", body=FileList),),
        errors=(UnknownFileError, errors.StoreUnavailableError),
    )
    def list_files(query: FilesQuery) -> Answer:
        """List files."""
        page = files.list_files(
            purpose=query.purpose,
            limit=query.limit,
            after=query.after,
            oldest_first=query.order == "asc",
        )
        rows = [file_object(each) for each in page.items]
        return Answer(
            body=FileList(
                data=rows, has_more=page.has_more, first_id=edge(rows[:1]), last_id=edge(rows[-1:])
            )
        )

    @api.operation(
        "GET",
        f"{PATH}/<file_id>",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The file's record.", body=FileObject),),
        errors=(UnknownFileError, errors.StoreUnavailableError),
    )
    def retrieve_file(file_id: str) -> Answer:
        """Read a file's record."""
        return Answer(body=file_object(files.get(file_id)))

    @api.operation(
        "DELETE",
        f"{PATH}/<file_id>",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The file is gone.", body=FileDeleted),),
        errors=(UnknownFileError, *_STORES),
    )
    def delete_file(file_id: str) -> Answer:
        """Delete a file."""
        file = files.get(file_id)
        storage.delete(f"files/{file.id}")
        files.drop(file.id)
        return Answer(body=FileDeleted(id=file.id))

    @api.operation(
        "GET",
        f"{PATH}/<file_id>/content",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The content.", media_type="application/octet-stream"),),
        errors=(UnknownFileError, *_STORES),
    )
    def read_file_content(file_id: str) -> Response:
        """Download a file."""
        file = files.get(file_id)
        try:
            stream = storage.read(f"files/{file.id}")
        except FileNotFoundError:
            raise UnknownFileError(f"the content of file {file_id!r} is not there") from None
        response = Response(_pieces(stream), content_type="application/octet-stream")
        response.call_on_close(stream.close)
        response.content_length = file.size
        return response


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
        time.sleep(0)
