"""Folders on a disk as a storage."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from storage_conformance import StorageConformance

from aggrade.errors import BadInput, Unavailable
from aggrade.storage import ConditionFailed, open_storage
from aggrade.storage.local import LocalStorage


class TestConformance(StorageConformance):
    """Local folders keep the contract of every storage."""

    @pytest.fixture
    def storage(self, tmp_path):
        """Return a storage whose folder does not exist yet."""
        return LocalStorage(str(tmp_path / "data"))


@pytest.fixture
def storage(tmp_path):
    """Return a storage whose folder does not exist yet."""
    return LocalStorage(str(tmp_path / "data"))


def files_below(folder):
    """Return the relative paths of everything below a folder, by other means than the storage's."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


def test_objects_are_plain_files(storage, tmp_path):
    """A new object is one plain file under its key, and leaves nothing else behind."""
    storage.write("windows.zarr/c/0 0", b"chunk")
    assert files_below(tmp_path / "data") == ["windows.zarr", "windows.zarr/c", "windows.zarr/c/0 0"]
    assert (tmp_path / "data/windows.zarr/c/0 0").read_bytes() == b"chunk"


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "{}/", "{}/x/.."])
def test_urls(tmp_path, form):
    """A path and a file URL open the same folder."""
    opened = open_storage(form.format(tmp_path / "a b%20#c"))
    assert opened == LocalStorage(str(tmp_path / "a b%20#c"))
    assert hash(opened) == hash(LocalStorage(str(tmp_path / "a b%20#c")))
    assert opened.url == str(tmp_path / "a b%20#c")


def test_relative_urls_become_absolute(tmp_path, monkeypatch):
    """A relative path means the folder that it meant when the storage was opened."""
    monkeypatch.chdir(tmp_path)
    opened = LocalStorage("data")
    monkeypatch.chdir("/")
    assert opened.url == str(tmp_path / "data")
    assert repr(opened) == f"LocalStorage({str(tmp_path / 'data')!r})"


@pytest.mark.parametrize(
    "url",
    ["gs://bucket/x", "s3:/bucket/x", "http://host/x", "simplecache::s3://b", "", "file://", "memory://"],
)
def test_refuses_other_stores(url):
    """A URL of another kind of store is refused, and so is none."""
    with pytest.raises(BadInput) as caught:
        open_storage(url)
    assert caught.value.code == "store-url"


def test_a_disk_has_nothing_above():
    """The top of a disk is in no folder."""
    with pytest.raises(BadInput):
        LocalStorage("/").above()


def test_reading_creates_nothing(storage, tmp_path):
    """Looking into a folder that does not exist leaves it not existing."""
    storage.read("a/b")
    storage.stat("a/b")
    storage.delete(["a/b"])
    list(storage.list("a"))
    storage.folders()
    with pytest.raises(ConditionFailed):
        storage.write("a/b", b"", replacing="mark")
    assert files_below(tmp_path) == []


def test_reading_a_store_creates_nothing(storage, tmp_path):
    """Looking into a folder that exists leaves it as it was."""
    storage.write("a/b", b"x")
    before = files_below(tmp_path)
    storage.read("a/b")
    list(storage.list())
    storage.folders("a")
    assert files_below(tmp_path) == before


def test_leftovers_are_no_objects(storage, tmp_path):
    """What a killed writer left, and locks, are neither listed nor readable nor a folder's content."""
    storage.write("a/k", b"x")
    storage.write("a/k", b"y", replacing=storage.stat("a/k").etag)
    (tmp_path / "data/a/.aggrade-tmp-0123").write_bytes(b"half")
    (tmp_path / "data/b").mkdir()
    (tmp_path / "data/b/.aggrade-tmp-0123").write_bytes(b"half")
    assert (tmp_path / "data/a/.aggrade-lock").exists()
    assert [found.key for found in storage.list()] == ["a/k"]
    assert storage.folders() == ["a"]
    for name in ("a/.aggrade-tmp-0123", "a/.aggrade-lock", ".aggrade-tmp-x/k"):
        with pytest.raises(BadInput):
            storage.read(name)


def test_marks_never_repeat(storage):
    """Two hundred objects of equal size that replace each other bear two hundred marks."""
    marks = [storage.write("k", b"0").etag]
    for _ in range(199):
        marks.append(storage.write("k", b"0", replacing=marks[-1]).etag)
    assert len(set(marks)) == 200


def test_marks_see_other_programs(storage, tmp_path):
    """A file that another program wrote in place bears another mark."""
    etag = storage.write("k", b"0").etag
    (tmp_path / "data/k").write_bytes(b"1")
    with pytest.raises(ConditionFailed):
        storage.write("k", b"2", replacing=etag)


def test_emptied_folders_go(storage, tmp_path):
    """Deleting the last object of a folder removes the folder with its lock, up to the storage's own."""
    storage.write("a/b/c/k", b"x")
    storage.write("a/b/c/k", b"y", replacing=storage.stat("a/b/c/k").etag)
    storage.delete(["a/b/c/k"])
    assert files_below(tmp_path) == ["data"]


def test_filled_folders_stay(storage, tmp_path):
    """A folder in which somebody is writing survives the deletion of its last object."""
    storage.write("a/k", b"x")
    (tmp_path / "data/a/.aggrade-tmp-0123").write_bytes(b"half")
    storage.delete(["a/k"])
    assert (tmp_path / "data/a/.aggrade-tmp-0123").exists()


def test_a_folder_goes_with_all_that_is_in_it(storage, tmp_path):
    """Objects, locks, files that nobody published and empty folders go; what lies beside stays; nothing is nothing."""
    for key in ("staging/a/x/c/0", "staging/a/zarr.json", "staging/ab", "other"):
        storage.write(key, b"1")
    (tmp_path / "data/staging/a/x/.aggrade-tmp-1").write_bytes(b"half")
    (tmp_path / "data/staging/a/empty").mkdir()
    storage.delete(["staging/a/none"])
    storage.drop_folder("staging/a/")
    assert [path for path in files_below(tmp_path / "data") if ".aggrade-lock" not in path] == [
        "other",
        "staging",
        "staging/ab",
    ]
    storage.drop_folder("staging/a")
    storage.delete(["staging/ab", "other"])
    assert not (tmp_path / "data/staging").exists()


def test_a_folder_goes_beside_who_writes_there(storage):
    """It is for folders of one's own; who writes there all the same is told to try again, and what is left goes next time."""

    def write():
        for number in range(100):
            with suppress(Unavailable):
                storage.write(f"staging/a/{number}/c/0", b"1")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            storage.drop_folder("staging/a")
        writing.result()
    storage.drop_folder("staging/a")
    assert list(storage.list()) == []


def test_creating_beside_deleting(storage):
    """Creating in a folder while its last objects are deleted loses no object."""
    code = """
        import sys
        from aggrade.storage.local import LocalStorage
        storage = LocalStorage(sys.argv[1])
        for turn in range(150):
            storage.write(f"a/b/{sys.argv[2]}", b"x")
            storage.delete([f"a/b/{sys.argv[2]}"])
        storage.write(f"a/b/{sys.argv[2]}", b"x")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), storage.url]
    runs = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    assert [run.wait() for run in runs] == [0, 0]
    assert [found.key for found in storage.list()] == ["a/b/one", "a/b/two"]


def test_a_dead_process_holds_no_lock(storage):
    """A process that is killed while it holds the lock does not keep others from writing."""
    etag = storage.write("k", b"x").etag
    code = """
        import sys, time
        from pathlib import Path
        from aggrade.storage.files import locked
        with locked(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), storage.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    assert storage.write("k", b"y", replacing=etag).size == 1


def test_a_stopped_process_blocks_nobody_for_ever(storage, tmp_path, monkeypatch):
    """A lock that is held for longer than a request may take is reported; nothing is written."""
    etag = storage.write("k", b"x").etag
    monkeypatch.setenv("AGGRADE_REQUEST_SECONDS", "0.05")
    with (tmp_path / "data/.aggrade-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable) as caught:
            storage.write("k", b"y", replacing=etag)
    assert caught.value.code == "lock-held"
    assert storage.read("k").data == b"x"
    assert storage.write("k", b"y", replacing=etag).size == 1


def test_refuses_a_disk_without_locks(storage, monkeypatch):
    """Where the file system knows no locks, replacing is refused and says so."""
    etag = storage.write("k", b"x").etag
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(BadInput) as caught:
        storage.write("k", b"y", replacing=etag)
    assert caught.value.code == "no-locks"
    assert storage.read("k").data == b"x"


def test_refuses_a_disk_without_links(storage, monkeypatch):
    """Where the file system knows no hard links, creating is refused and says so."""
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(BadInput) as caught:
        storage.write("k", b"x")
    assert caught.value.code == "no-links"
    assert list(storage.list()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EIO, "disk")]
)
def test_failing_disks(storage, tmp_path, monkeypatch, number, code):
    """A full or failing disk is `Unavailable` with its cause; the old object stays and no debris."""
    etag = storage.write("k", b"old").etag
    monkeypatch.setattr(os, "fsync", failing(number))
    for write in (lambda: storage.write("k", b"new", replacing=etag), lambda: storage.write("l", b"new")):
        with pytest.raises(Unavailable) as caught:
            write()
        assert caught.value.code == code
        assert caught.value.__cause__.errno == number
    assert files_below(tmp_path / "data") == ["k"]
    assert storage.read("k").data == b"old"


def test_a_file_too_large(storage, tmp_path):
    """A write that the kernel cuts short in the middle leaves nothing behind."""
    code = """
        import resource, signal, sys
        from aggrade.errors import Unavailable
        from aggrade.storage.local import LocalStorage
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            LocalStorage(sys.argv[1]).write("k", b"x" * 10_000)
        except Unavailable as error:
            print(error.code)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), storage.url]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "disk-full\n"
    assert files_below(tmp_path / "data") == []


def test_a_disk_that_corrupts(storage, monkeypatch):
    """Bytes that come back from the disk otherwise than they were written are not published."""
    genuine = os.pread
    monkeypatch.setattr(os, "pread", lambda *span: genuine(*span)[:-1] + b"!")
    with pytest.raises(Unavailable) as caught:
        storage.write("k", b"data")
    assert caught.value.code == "disk-corrupts"
    assert list(storage.list()) == []


def test_a_file_that_keeps_changing(storage, tmp_path, monkeypatch):
    """A file that another program changes during every reading is not returned in parts."""
    storage.write("k", b"data")
    genuine = os.pread

    def pread(*span):
        (tmp_path / "data/k").write_bytes(b"other")
        os.utime(tmp_path / "data/k", ns=(1, len(changes)))
        changes.append(1)
        return genuine(*span)

    changes = []
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(Unavailable) as caught:
        storage.read("k")
    assert caught.value.code == "torn-read"


def test_permissions():
    """Without permission reading and writing are `BadInput`; nothing changes."""
    code = """
        import os, sys
        from aggrade.errors import BadInput
        from aggrade.storage.local import LocalStorage
        os.chdir("/")
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        storage = LocalStorage(sys.argv[1])
        etag = storage.stat("k").etag
        for call in (
            lambda: storage.write("new", b""),
            lambda: storage.write("folder/new", b""),
            lambda: storage.write("k", b"", replacing=etag),
            lambda: storage.delete(["k"]),
            lambda: storage.read("secret"),
            lambda: list(storage.list("closed/")),
        ):
            try:
                call()
            except BadInput as error:
                print(error.code)
    """
    with TemporaryFolder() as folder:
        (folder / "k").write_bytes(b"x")
        (folder / "secret").write_bytes(b"x")
        (folder / "secret").chmod(0o000)
        (folder / "closed").mkdir(mode=0o000)
        folder.chmod(0o555)
        command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        assert run.stdout.split() == ["permission-denied"] * 6
        assert files_below(folder) == ["closed", "k", "secret"]


def test_a_name_is_a_file_or_a_folder(storage):
    """An object below another, or where a folder is, is refused with the path."""
    storage.write("a", b"file")
    storage.write("folder/b", b"")
    for key in ("a/below", "a/far/below", "folder", "x" * 300):
        with pytest.raises(BadInput) as caught:
            storage.write(key, b"")
        assert caught.value.code == "path"
        assert key in str(caught.value)
    assert [found.key for found in storage.list()] == ["a", "folder/b"]


def test_follows_links(storage, tmp_path):
    """Folders and files that are symbolic links are read through."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/k").write_bytes(b"x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/dangling").symlink_to(tmp_path / "nowhere")
    assert [found.key for found in storage.list()] == ["linked/k"]
    assert storage.folders() == ["linked"]


def failing(number):
    """Return a function that fails with this number of error."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


class TemporaryFolder:
    """A folder that everybody may reach, unlike pytest's own."""

    def __enter__(self):
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.folder.chmod(0o755)
        return self.folder

    def __exit__(self, *_):
        import shutil

        self.folder.chmod(0o755)
        (self.folder / "closed").chmod(0o755)
        shutil.rmtree(self.folder)
