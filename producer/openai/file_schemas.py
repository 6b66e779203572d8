"""What the calls for files take and send."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from contract.batch import File
from producer.request_schemas import Number, Query
from producer.response_schemas import Sent

MOST_LISTED = 10_000
_MONTH_S = 2_592_000

Purpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]


class FileForm(Query):
    """The fields beside an uploaded file."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {
                "expires_after[anchor]": ["expires_after[seconds]"],
                "expires_after[seconds]": ["expires_after[anchor]"],
            }
        }
    )

    purpose: Purpose
    anchor: Literal["created_at"] | None = Field(default=None, alias="expires_after[anchor]")
    seconds: Annotated[int, Field(ge=3600, le=_MONTH_S), Number] | None = Field(
        default=None, alias="expires_after[seconds]"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.anchor is None) != (self.seconds is None):
            raise ValueError("expires_after needs both anchor and seconds")
        return self


class FilesQuery(Query):
    """Which files."""

    purpose: str | None = Field(default=None, min_length=1, max_length=64)
    limit: Annotated[int, Number] = Field(default=MOST_LISTED, ge=1, le=MOST_LISTED)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = Field(default=None, min_length=1, max_length=64)


class FileObject(Sent):
    """A stored file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(Sent):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Sent):
    """That a file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def file_object(file: File) -> FileObject:
    """A record as it is sent."""
    return FileObject(
        id=file.id,
        bytes=file.size,
        created_at=file.created_ms // 1000,
        expires_at=None if file.expires_ms is None else file.expires_ms // 1000,
        filename=file.name,
        purpose=file.purpose,
    )


def edge(rows: Sequence[Any]) -> str | None:
    """The id of the only row, if there is one: where a page begins or ends."""
    return str(rows[0].id) if rows else None
