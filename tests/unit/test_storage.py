"""Contents of files on a folder and on another of fsspec's storages."""

from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem

from contract.errors import MissingDependencyError, SettingsError, StorageUnavailableError
from producer.storage import FileStorage


@pytest.fixture(params=["folder", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> FileStorage:
    kind = str(tmp_path / "files") if request.param == "folder" else f"memory://{tmp_path.name}"
    return FileStorage(kind)


def write(storage: FileStorage, name: str, content: bytes) -> None:
    with storage.write(name) as stream:
        stream.write(content)


def test_what_is_written_is_read_back(storage: FileStorage) -> None:
    write(storage, "files/a", b"one\ntwo\n")

    assert list(storage.lines("files/a")) == [b"one\n", b"two\n"]
    with storage.read("files/a") as stream:
        assert stream.read() == b"one\ntwo\n"


def test_a_block_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "files"))
    write(storage, "files/a", b"old")

    def fail_in_the_midst() -> None:
        with storage.write("files/a") as stream:
            stream.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_midst()

    with storage.read("files/a") as stream:
        assert stream.read() == b"old"
    assert storage.below("files") == ["files/a"]
    assert [path.name for path in (tmp_path / "files/files").iterdir()] == ["a"]


def test_names_below_a_name_come_in_order_and_can_be_deleted_together(
    storage: FileStorage,
) -> None:
    for name in ("b/2", "b/10", "b/1", "c/1"):
        write(storage, name, b"x")

    assert storage.below("b") == ["b/1", "b/10", "b/2"]
    storage.delete("b")
    assert storage.below("b") == []
    assert storage.below("c") == ["c/1"]


def test_deleting_what_is_not_there_is_no_error(storage: FileStorage) -> None:
    storage.delete("files/never")


def test_what_is_not_there_cannot_be_read(storage: FileStorage) -> None:
    with pytest.raises(FileNotFoundError):
        list(storage.lines("files/never"))


def test_a_folder_that_cannot_be_made_is_storage_that_is_not_available(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    storage = FileStorage(str(tmp_path / "taken"))

    with pytest.raises(StorageUnavailableError, match="MILLRACE_FILES_URL"):
        write(storage, "files/a", b"x")


@pytest.mark.parametrize("url", ["nowhere://x/y"])
def test_an_address_that_nothing_knows_is_refused(url: str) -> None:
    with pytest.raises(MissingDependencyError, match="MILLRACE_FILES_URL"):
        FileStorage(url)


def test_two_who_write_the_same_name_are_not_in_each_others_way(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "files"))

    def give_up() -> None:
        with storage.write("files/a") as late, storage.write("files/a") as other:
            other.write(b"other")
            late.write(b"late")
            raise RuntimeError

    with storage.write("files/a") as stream:
        with pytest.raises(RuntimeError):
            give_up()
        stream.write(b"mine")

    assert list(storage.lines("files/a")) == [b"mine"]


def test_what_was_never_finished_goes_when_it_is_old(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path))
    write(storage, "files/a", b"x")
    (tmp_path / "files" / "b.1.part").write_text("half")
    storage.drop_unfinished("files", 3600)
    assert (tmp_path / "files" / "b.1.part").exists()
    storage.drop_unfinished("files", -1)
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["a"]
    storage.drop_unfinished("never", -1)


def test_an_address_that_wants_an_event_loop_is_refused() -> None:
    class Looping(AsyncFileSystem):  # type: ignore[misc]
        protocol = "looping"

    fsspec.register_implementation("looping", Looping)
    with pytest.raises(SettingsError, match="mount it"):
        FileStorage("looping://x")
