"""Objects as files in a folder, with the conditions that S3 offers.

A file is written under a temporary name in its folder, synced, read back, and then published whole: by a hard
link where it must be new (the link fails if the name is taken), by a rename where it replaces another. Between
looking at the file that is to be replaced and the rename, a lock is held on ``.aggrade-lock`` beside it: a file
of its own, since a lock on a file that a rename replaces guards nothing, and in the same folder, so that
storages opened at different heights of one tree exclude each other. The lock ends with its process.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Damaged, Problem, Unavailable
from aggrade.settings import settings
from aggrade.storage import ConditionFailed, ObjectInfo, StoredObject, files
from aggrade.storage.keys import check_condition, check_key, check_prefix, missing_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["LocalStorage"]


_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class LocalStorage:
    """A folder on a disk as a `Storage`. Opening and reading create nothing.

    Parameters
    ----------
    url
        A path or ``file://`` URL of the folder; it need not exist. As in zarr and fsspec, the URL's path is
        taken as it stands, without decoding ``%``.

    Raises
    ------
    BadInput
        If the URL names another kind of store.
    """

    def __init__(self, url: str) -> None:
        path = re.sub(r"^file://(localhost(?=/))?", "", url)
        if not path or "://" in path or _MISTYPED.match(path):
            expected = "a path, file://… or s3://bucket/…"
            raise BadInput(Problem("store", repr(url), expected, "give one of these", "store-url"))
        self.url = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - resolve() follows links

    def __repr__(self) -> str:
        return f"LocalStorage({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStorage) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """Return bytes ``[start, stop)`` of an object, or None. See `Storage.read`."""
        path = self._path(key)
        with files.translated(path):
            for _ in range(settings().request_attempts):
                try:
                    found = _read_whole(path, slice(start, stop))
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    return None
                if found is not None:
                    return found
        raise Unavailable(
            Problem(str(path), "a file that keeps changing", "whole files", "retry later", "torn-read")
        )

    def stat(self, key: str) -> ObjectInfo | None:
        """Return size and mark of an object, or None. See `Storage.stat`."""
        path = self._path(key)
        with files.translated(path):
            return _info(path, key)

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """Write an object whole, on condition, synced to the disk. See `Storage.write`."""
        path = self._path(key)
        with files.translated(path):
            for _ in range(settings().request_attempts):
                check_condition(_info(path, key), key, replacing)
                temporary, etag = files.spool(path, data, make_folder=replacing is None)
                if _published(temporary, path, key, replacing):
                    files.sync_folder(path.parent)
                    return ObjectInfo(key, len(data), etag)
        found, fix = "temporary files that somebody deletes", "retry later"
        raise Unavailable(Problem(str(path), found, "files that stay", fix, "file-vanished"))

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """Copy an object to a key where none lies; by a hard link where it is to go. See `Storage.copy`."""
        path = self._path(target)
        if unchanged is not None:
            with files.translated(path):
                if _link_same(self._path(source), path, unchanged):
                    return unchanged
        found = self.read(source)
        if found is None or unchanged not in {None, found.etag}:
            raise Damaged(missing_source(source))
        try:
            return self.write(target, found.data).etag
        except ConditionFailed:
            there = self.read(target)
            if there is None or there.data != found.data:
                raise
            return there.etag

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and the folders that this leaves empty. See `Storage.delete`."""
        folders: dict[Path, list[Path]] = {}
        for path in map(self._path, keys):
            folders.setdefault(path.parent, []).append(path)
        for folder, paths in folders.items():
            with files.translated(folder):
                if there := [path for path in paths if path.is_file()]:
                    _unlink(folder, there)
                    self._prune(folder)

    def discard(self, key: str, etag: str) -> bool:
        """Delete a file if it is still that one. See `Storage.discard`."""
        path = self._path(key)
        with files.translated(path):
            if not _unlink_same(path, key, etag):
                return False
            self._prune(path.parent)
        return True

    def partial_files(self, age: float) -> list[str]:
        """Return the paths of files below this folder that were written in part and never published.

        Parameters
        ----------
        age
            Seconds since they were last written to, at least.
        """
        top = Path(self.url)
        with files.translated(top):
            return [str(path) for path in files.partial(top, age)]

    def drop_partial(self, paths: Iterable[str]) -> None:
        """Delete what `partial_files` returned, and the folders that this leaves empty.

        Who is about to publish one of them, being alive, writes it again.
        """
        for path in map(Path, paths):
            with files.translated(path):
                path.unlink(missing_ok=True)
                self._prune(path.parent)

    def drop_empty(self, prefix: str) -> None:
        """Delete the folders below `prefix`, and that one, as far as they hold nothing but their locks."""
        top = Path(self.url, check_prefix(prefix.strip("/")))
        with files.translated(top):
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                _remove_empty(folder)
            self._prune(top)

    def drop_folder(self, prefix: str) -> None:
        """Delete the folder `prefix` with all that is in it, locks and unpublished files too, synced once at its end.

        For folders in which nobody else writes: who does may lose what was written.
        """
        top = self._path(prefix.strip("/"))
        with files.translated(top):
            for _ in range(settings().request_attempts):
                if _remove_tree(top):
                    break
            if top.parent.is_dir():
                files.sync_folder(top.parent)
                self._prune(top.parent)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """Return the names of the folders below `prefix` that hold an object. See `Storage.folders`."""
        top = Path(self.url, check_prefix(prefix.strip("/")))
        with files.translated(top):
            inside = [entry for entry in _entries(top) if entry.is_dir()]
            filled = [entry.name for entry in inside if any(_walk(Path(entry), "", ""))]
        return sorted(filled, key=os.fsencode)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects in the order of their keys. See `Storage.list`."""
        folder, slash, beginning = check_prefix(prefix).rpartition("/")
        top = Path(self.url, folder)
        with files.translated(top):
            yield from _walk(top, folder + slash, beginning)

    def within(self, path: str) -> LocalStorage:
        """Return the storage of the folder `path` below this one."""
        return LocalStorage(os.path.join(self.url, check_key(path.strip("/"))))  # noqa: PTH118

    def above(self) -> tuple[LocalStorage, str]:
        """Return the folder that holds this one, and this one's name. See `Storage.above`."""
        folder = Path(self.url)
        if folder.parent == folder:
            raise BadInput(Problem("store", "a whole disk", "a folder on it", "name a folder", "store-url"))
        return LocalStorage(str(folder.parent)), folder.name

    def space(self) -> tuple[int, int]:
        """Return the number of the file system that the folder lies on, or will lie on, and its free bytes."""
        top = Path(self.url)
        there = next(path for path in (top, *top.parents) if path.exists())
        with files.translated(there):
            return there.stat().st_dev, shutil.disk_usage(there).free

    def _path(self, key: str) -> Path:
        path = Path(self.url, check_key(key))
        if any(map(files.reserved, key.split("/"))):
            expected = "parts other than .aggrade-lock and .aggrade-tmp-…"
            raise BadInput(Problem("key", repr(key), expected, "name the object otherwise", "key"))
        return path

    def _prune(self, folder: Path) -> None:
        while folder != Path(self.url) and _remove_empty(folder):
            folder = folder.parent


def _read_whole(path: Path, span: slice) -> StoredObject | None:
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        start, stop, _ = span.indices(before.st_size)
        data = b"".join(files.pieces(file.fileno(), start, stop))
        etag = files.mark(before)
        whole = etag == files.mark(os.fstat(file.fileno())) and len(data) == max(stop - start, 0)
    return StoredObject(data, etag) if whole else None


def _info(path: Path, key: str) -> ObjectInfo | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if path.is_dir() else ObjectInfo(key, status.st_size, files.mark(status))


def _link_same(source: Path, path: Path, mark: str) -> bool:
    """Give a file a second name if it bears this mark and the name is free or its own; return whether it has both."""
    temporary = files.linked(source, path)
    if temporary is None:
        return False
    try:
        same = files.mark(temporary.stat()) == mark
        if same and not files.link_new(temporary, path):
            there = _info(path, "")
            same = there is not None and there.etag == mark
    finally:
        temporary.unlink(missing_ok=True)
    if same:
        files.sync_folder(path.parent)
    return same


def _published(temporary: Path, path: Path, key: str, replacing: str | None) -> bool:
    """Give a temporary file its name; return whether it was still there: a removal deletes those of dead writers."""
    try:
        if replacing is not None:
            _swap(temporary, path, key, replacing)
        elif not files.link_new(temporary, path):
            check_condition(_info(path, key) or ObjectInfo(key, 0, "gone since"), key, None)
    except FileNotFoundError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _swap(temporary: Path, path: Path, key: str, replacing: str) -> None:
    with files.locked(path.parent):
        check_condition(_info(path, key), key, replacing)
        temporary.rename(path)


def _unlink(folder: Path, paths: list[Path]) -> None:
    with suppress(FileNotFoundError), files.locked(folder):
        for path in paths:
            path.unlink(missing_ok=True)
        files.sync_folder(folder)


def _unlink_same(path: Path, key: str, etag: str) -> bool:
    found = _info(path, key)
    if found is None or found.etag != etag:
        return False
    with suppress(FileNotFoundError), files.locked(path.parent):
        found = _info(path, key)
        if found is not None and found.etag == etag:
            path.unlink()
            files.sync_folder(path.parent)
            return True
    return False


def _remove_tree(folder: Path) -> bool:
    """Remove a folder and what is in it; return whether it is gone: others may add to it, or remove it too."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not folder.exists()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _remove_empty(folder: Path) -> bool:
    """Remove a folder that holds nothing but its lock; return whether it was removed."""
    if not files.only_lock(folder):
        return False
    with suppress(FileNotFoundError), files.locked(folder):
        if files.only_lock(folder):
            Path(folder, files.LOCK).unlink()
            return _rmdir(folder)
    return False


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not files.reserved(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _walk(folder: Path, prefix: str, beginning: str) -> Iterator[ObjectInfo]:
    """Yield what lies below a folder; a folder sorts as its name and the slash that follows it in keys."""
    names = {entry.name + "/" * entry.is_dir(): entry for entry in _entries(folder)}
    for name in sorted(names, key=os.fsencode):
        if not name.startswith(beginning):
            continue
        if name.endswith("/"):
            yield from _walk(Path(names[name]), prefix + name, "")
        elif info := _info(Path(names[name]), prefix + name):
            yield info
