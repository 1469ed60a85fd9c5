"""Where recordings lie: from a source to its sessions, and from a session to files on this machine.

A source is a folder, a file or a prefix in a bucket; each child of it is one session. A session is a folder
with one or more recordings, or one recording. What is hidden (its name begins with a dot or two underscores) is
left alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem
from aggrade.recordings.formats import FORMATS, format_of
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.recordings import Format

__all__ = ["LocalSession", "SessionSource", "SourceFile", "local_session", "sessions_in", "source_digest"]

logger = logging.getLogger(__name__)

HEAD_BYTES = 1024
PIECE_BYTES = 32 << 20
_SLASHES_OF_BUCKET = 2
_CONTINUED = re.compile(r"(.+)-\d+(\.fif(\.gz)?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SessionSource:
    """One session of a source: its id, and what `cut_windows` takes."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on this machine, the name that it has within its session, and its format (None: a companion)."""

    path: Path
    name: str
    format: Format | None


@dataclass(frozen=True, slots=True)
class LocalSession:
    """A session's files on this machine, in the order of their names."""

    id: str
    files: tuple[SourceFile, ...]

    @property
    def recordings(self) -> tuple[SourceFile, ...]:
        """Those that are recordings."""
        return tuple(file for file in self.files if file.format is not None)


def sessions_in(
    source: str, *, storage_options: Mapping[str, Any] | None = None
) -> tuple[SessionSource, ...]:
    """Return the sessions of a source, sorted by id.

    Every folder directly below the source is one session, and so is every recording that lies there; other
    files are passed over. A source that is itself a recording is one session.

    Parameters
    ----------
    source
        A folder or file, or a prefix or object as ``s3://bucket/…``.
    storage_options
        As for `aggrade.storage.open_storage`.

    Raises
    ------
    BadInput
        If there is no such source, if it holds no session, or if two children have the same id.
    """
    url = source.rstrip("/")
    with _listing(url, storage_options) as listing:
        if listing.is_file:
            return (SessionSource(_stem(_last(url)), url),)
        children = _children(listing.names)
        folders = [SessionSource(child, f"{url}/{child}") for child in children.folders]
        known = [name for name in children.files if listing.format(name) is not None]
        files = [SessionSource(_stem(name), f"{url}/{name}") for name in _mains(known)]
    found = sorted([*folders, *files], key=lambda child: child.id)
    if not found:
        fix = f"give a folder that holds recordings ({_known_formats()}) or folders with recordings"
        raise BadInput(Problem(source, "no recordings", "one session per child", fix, "no-sessions"))
    _check_ids(source, found)
    logger.info("%s holds %d sessions", _last(url), len(found))
    return tuple(found)


@contextmanager
def local_session(
    source: str | Path, storage_options: Mapping[str, Any] | None = None
) -> Iterator[LocalSession]:
    """Give the files of one session as files on this machine, for the length of a ``with`` block.

    Parameters
    ----------
    source
        A folder or file, or a prefix or object, which is copied to a temporary folder.
    storage_options
        As for `aggrade.storage.open_storage`.

    Raises
    ------
    BadInput
        If there is no such source, or no recording in it.
    """
    url = str(source).rstrip("/")
    with _listing(url, storage_options) as listing:
        formats = {name: listing.format(name) for name in listing.names}
        mains = _mains([name for name, known in formats.items() if known is not None])
        if not mains:
            fix = f"put a recording there: {_known_formats()}"
            raise BadInput(Problem(_last(url), "no recording", "at least one", fix, "no-recording"))
        wanted = sorted({*mains, *_companions(mains, formats, listing.names)})
        files = tuple(
            SourceFile(listing.path(name), name, formats[name] if name in mains else None) for name in wanted
        )
        label = _stem(_last(url)) if listing.is_file else _last(url)
        yield LocalSession(label, files)


def source_digest(source: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return the SHA-256 of a session's files, names and contents, in hexadecimal digits.

    Recordings count, and the files that belong to them; notes that lie beside them do not. The same files
    elsewhere have the same digest.

    Parameters
    ----------
    source, storage_options
        As for `local_session`.

    Raises
    ------
    BadInput
        As `local_session`.
    """
    with local_session(source, storage_options) as session:
        return digest_of(session)


def digest_of(session: LocalSession) -> str:
    """Return what `source_digest` returns, of a session whose files are at hand."""
    total = hashlib.sha256()
    for file in session.files:
        with file.path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").digest()
        total.update(file.name.encode() + b"\0" + content)
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class _Children:
    folders: list[str]
    files: list[str]


class _Local:
    """Names of files below a local folder, or of one file and those beside it that share its stem."""

    def __init__(self, url: str) -> None:
        root = Path(re.sub(r"^file://(localhost(?=/))?", "", url)).expanduser()
        self.is_file = root.is_file()
        self._root = root.parent if self.is_file else root
        if self.is_file:
            self.names = _beside(root.name, (path.name for path in root.parent.iterdir()))
            return
        if not root.is_dir():
            raise _missing(url)
        below = (path for path in _walk(root) if path.is_file() or _is_empty_folder(path))
        names = (path.relative_to(root).as_posix() + "/" * path.is_dir() for path in below)
        self.names = sorted(filter(_visible, names))

    def format(self, name: str) -> Format | None:
        """Return a file's format by its first bytes and its name."""
        if name.endswith("/"):
            return None
        with (self._root / name).open("rb") as file:
            return format_of(name, file.read(HEAD_BYTES))

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self._root / name


def _walk(root: Path) -> Iterator[Path]:
    """Yield everything below a folder, what links lead to too; a link back to a folder above ends there."""
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        above = {parent.resolve() for parent in (here, *here.parents)}
        folders[:] = [name for name in folders if (here / name).resolve() not in above]
        yield from (here / name for name in (*folders, *files))


class _Remote:
    """Names of objects below a prefix, or of one object and those beside it that share its stem."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None, folder: Path) -> None:
        self._folder, self._storage = folder, open_storage(url, storage_options)
        self.is_file = False
        if url.count("/") > _SLASHES_OF_BUCKET:
            above, last = self._storage.above()
            self.is_file = above.stat(last) is not None
        if self.is_file:
            self._storage = above
            self.names = _beside(last, (info.key for info in above.list(_stem(last))))
        else:
            self.names = [info.key for info in self._storage.list() if _visible(info.key)]
        if not self.names:
            raise _missing(url)

    def format(self, name: str) -> Format | None:
        """Return an object's format by its first bytes and its name."""
        if name.endswith("/"):
            return None
        head = self._storage.read(name, start=0, stop=HEAD_BYTES)
        return format_of(name, head.data if head else b"")

    def path(self, name: str) -> Path:
        """Copy an object to a file, piece by piece."""
        target = self._folder / name
        if ".." in Path(name).parts:
            raise BadInput(Problem(name, "a key with '..'", "a plain key", "rename the object", "key"))
        target.parent.mkdir(parents=True, exist_ok=True)
        info = self._storage.stat(name)
        with target.open("wb") as file:
            for start in range(0, info.size if info else 0, PIECE_BYTES):
                piece = self._storage.read(name, start=start, stop=start + PIECE_BYTES)
                file.write(piece.data if piece else b"")
        return target


@contextmanager
def _listing(url: str, storage_options: Mapping[str, Any] | None) -> Iterator[_Local | _Remote]:
    if "://" not in url or url.startswith("file://"):
        yield _Local(url)
        return
    with TemporaryDirectory(prefix="aggrade-") as folder:
        yield _Remote(url, storage_options, Path(folder))


def _missing(url: str) -> BadInput:
    fix = "check the spelling, and that the folder is reachable from here"
    return BadInput(Problem(url, "nothing", "a folder, a file or a prefix", fix, "source-missing"))


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _visible(name: str) -> bool:
    return not any(part.startswith((".", "__")) for part in name.split("/"))


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _stem(name: str) -> str:
    """Return a file's name without the suffix of its format."""
    suffixes = sorted((s for known in FORMATS for s in known.suffixes), key=len, reverse=True)
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), Path(name).suffix)
    return name[: len(name) - len(found)] or name


def _beside(name: str, siblings: Iterable[str]) -> list[str]:
    """Return a file and those beside it that may belong to it: the same stem, a companion's suffix."""
    stem = _stem(name)
    kept = {f"{stem}{suffix}".lower() for known in FORMATS for suffix in known.companions}
    return sorted({name, *(other for other in siblings if other.lower() in kept or _main_of(other) == name)})


def _children(names: Iterable[str]) -> _Children:
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    return _Children(folders, sorted(name for name in names if "/" not in name))


def _main_of(name: str) -> str | None:
    """Return the file that this one would continue, as large FIF files are continued."""
    match = _CONTINUED.match(name)
    return f"{match[1]}{match[2]}" if match else None


def _mains(names: list[str]) -> list[str]:
    """Leave out the files that continue another one."""
    return [name for name in names if _main_of(name) not in names]


def _companions(mains: list[str], formats: Mapping[str, Format | None], names: list[str]) -> Iterator[str]:
    """Yield the files that belong to recordings: their continuations, and what their format keeps apart."""
    for main in mains:
        known, folder = formats[main], main.rpartition("/")[0]
        for name in names:
            if name not in mains and name.rpartition("/")[0] == folder:
                kept_apart = known is not None and name.lower().endswith(known.companions or ("\0",))
                if kept_apart or _main_of(name) == main:
                    yield name


def _check_ids(source: str, found: list[SessionSource]) -> None:
    for label, count in Counter(child.id for child in found).items():
        if count > 1:
            fix = f"put the files of one session into a folder {label!r}"
            raise BadInput(Problem(source, f"{count} children named {label!r}", "one", fix, "session-twice"))


def _known_formats() -> str:
    return ", ".join(known.name for known in FORMATS)
