"""Files that appear whole or not at all, and the lock that lets one be replaced on condition."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem, Unavailable
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "link_new",
    "linked",
    "locked",
    "mark",
    "only_lock",
    "partial",
    "pieces",
    "reserved",
    "spool",
    "sync_folder",
    "translated",
]

LOCK = ".aggrade-lock"
_TEMPORARY = ".aggrade-tmp-"
_PIECE = 1 << 20
_FOLDER_ATTEMPTS = 100  # somebody who deletes the folder's last object removes the folder
_POLL_SECONDS = (0.001, 0.05)
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MISNAMED = {
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ELOOP,
}
_LINKLESS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_HELD = {errno.EAGAIN, errno.EACCES}


def reserved(name: str) -> bool:
    """Tell whether a file of this name is bookkeeping and no object."""
    return name == LOCK or name.startswith(_TEMPORARY)


def partial(folder: Path, age: float) -> list[Path]:
    """Return temporary files below a folder that nobody has written to for so many seconds."""
    newest, found = time.time() - age, []
    for path in sorted(folder.rglob(f"{_TEMPORARY}*")):
        with suppress(FileNotFoundError):
            status = path.stat()
            found += [path] if stat.S_ISREG(status.st_mode) and status.st_mtime <= newest else []
    return found


def mark(status: os.stat_result) -> str:
    """Return the mark of a file: its inode, time of change in nanoseconds, and size."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    """Yield bytes ``[start, stop)`` of an open file, a mebibyte at a time, up to its end."""
    while start < stop and (piece := os.pread(descriptor, min(_PIECE, stop - start), start)):
        yield piece
        start += len(piece)


def spool(path: Path, data: bytes, *, make_folder: bool) -> tuple[Path, str]:
    """Write `data` to a temporary file beside `path`, synced and read back; return its path and mark.

    Its time of change is set from the clock in nanoseconds: the kernel's own advances in steps of
    milliseconds, within which an inode may be freed and used again.
    """
    temporary = path.with_name(_TEMPORARY + secrets.token_hex(8))
    for _ in range(_FOLDER_ATTEMPTS):
        try:
            if make_folder:
                _make_folder(path.parent)
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            continue
        return temporary, _fill(descriptor, temporary, data)
    fix = "retry, or take another folder"
    raise Unavailable(
        Problem(str(path), "no folder that stays", "one that can be made there", fix, "folder-vanished")
    )


def linked(source: Path, path: Path) -> Path | None:
    """Give a file a second, temporary name beside `path`; None if it is gone or the file system can't."""
    temporary = path.with_name(_TEMPORARY + secrets.token_hex(8))
    for _ in range(_FOLDER_ATTEMPTS):
        try:
            _make_folder(path.parent)
            os.link(source, temporary)
        except (FileNotFoundError, NotADirectoryError):
            if not source.exists():
                return None
        except OSError as error:
            if error.errno not in _LINKLESS | {errno.EXDEV}:
                raise
            return None
        else:
            return temporary
    return None


def _fill(descriptor: int, temporary: Path, data: bytes) -> str:
    try:
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            now = time.time_ns()
            os.utime(descriptor, ns=(now, now))
            os.fsync(descriptor)
            _compare(descriptor, temporary, data)
            return mark(os.fstat(descriptor))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _compare(descriptor: int, temporary: Path, data: bytes) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    view, position = memoryview(data), 0
    for piece in pieces(descriptor, 0, len(view) + 1):
        if view[position : position + len(piece)].tobytes() != piece:  # a view compares item by item
            break
        position += len(piece)
    if position != len(view) or os.fstat(descriptor).st_size != len(view):
        problem = Problem(
            str(temporary),
            "other bytes than were written",
            "the same bytes",
            "check the disk",
            "disk-corrupts",
        )
        raise Unavailable(problem)


def link_new(temporary: Path, path: Path) -> bool:
    """Publish a temporary file under a name that must be free; return whether it was."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if path.is_dir():
            raise
        return False
    except OSError as error:
        if error.errno not in _LINKLESS:
            raise
        problem = Problem(
            str(path),
            "a file system without hard links",
            "one that has them",
            "put the store elsewhere",
            "no-links",
        )
        raise BadInput(problem) from error
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on the files of `folder`; it ends with the process at the latest.

    Raises
    ------
    Unavailable
        If somebody holds it for longer than a request may take.
    BadInput
        If the file system has no locks.
    """
    path, deadline = folder / LOCK, time.monotonic() + settings().request_seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _acquire(descriptor, path, deadline)
            if _names(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, path: Path, deadline: float) -> None:
    pause = _POLL_SECONDS[0]
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _LOCKLESS:
                raise BadInput(_no_locks(path)) from error
            if error.errno not in _HELD:
                raise
            if time.monotonic() > deadline:
                raise Unavailable(_still_held(path)) from error
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, _POLL_SECONDS[1])


def _names(path: Path, descriptor: int) -> bool:
    """Tell whether the lock file is still the one in the folder: it is removed with a folder that empties."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def only_lock(folder: Path) -> bool:
    """Tell whether a folder holds nothing, or nothing but its lock."""
    try:
        return set(os.listdir(folder)) <= {LOCK}  # noqa: PTH208 - names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if folder.exists() and not folder.is_dir():
            raise
        raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(folder)) from error
    for path in reversed(missing):
        sync_folder(path.parent)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into aggrade's errors."""
    try:
        yield
    except OSError as error:
        raise _translate(error, str(path)) from error


def _translate(error: OSError, where: str) -> BadInput | Unavailable:
    found = error.strerror or str(error)
    if error.errno in _DENIED:
        return BadInput(
            Problem(where, found, "permission", "change the permissions or the path", "permission-denied")
        )
    if error.errno in _MISNAMED:
        return BadInput(Problem(where, found, "a free name in a folder", "choose another name", "path"))
    if error.errno in _FULL:
        fix = (
            "free some room, of old backups by prune_backups for instance, which needs none, and run it again"
        )
        return Unavailable(Problem(where, found, "room on the disk", fix, "disk-full"))
    return Unavailable(Problem(where, found, "a disk that answers", "check the disk and retry", "disk"))


def _no_locks(path: Path) -> Problem:
    return Problem(
        str(path), "a file system without locks", "one that has them", "put the store elsewhere", "no-locks"
    )


def _still_held(path: Path) -> Problem:
    found = f"a lock held for more than {settings().request_seconds:g} s"
    return Problem(str(path), found, "locks held for milliseconds", "look for a stopped process", "lock-held")
