"""The files of a source, in a folder or in a bucket: their names, their formats, and the files themselves."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from aggrade.errors import BadInput, Problem
from aggrade.recordings.formats import FORMATS, format_of
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.recordings import Format
    from aggrade.storage import Storage

__all__ = ["Listing", "beginning_of", "exists", "holds", "is_local", "listed", "main_of", "stem_of"]

HEAD_BYTES = 1024
PIECE_BYTES = 32 << 20
_SLASHES_OF_BUCKET = 2
_CONTINUED = re.compile(r"(.+)-\d+(\.fif(\.gz)?)$", re.IGNORECASE)
_SPLIT = re.compile(r"(.+_split-)(\d+)(_[^_/]*\.fif(\.gz)?)$", re.IGNORECASE)


@contextmanager
def listed(
    url: str, storage_options: Mapping[str, Any] | None, prefixes: tuple[str, ...] = ()
) -> Iterator[Listing]:
    """Give the names below a source, for the length of a ``with`` block; a file's are those that belong to it.

    Parameters
    ----------
    url
        A folder or file, or a prefix or object as ``s3://bucket/…``.
    storage_options
        As for `aggrade.storage.open_storage`.
    prefixes
        Beginnings of the names that matter; none: all do.

    Raises
    ------
    BadInput
        If there is no such source.
    """
    if is_local(url):
        yield _Local(url, prefixes)
        return
    with TemporaryDirectory(prefix="aggrade-") as folder:
        yield _Remote(url, storage_options, Path(folder), prefixes)


def holds(url: str, name: str, storage_options: Mapping[str, Any] | None) -> bool:
    """Tell whether a folder or prefix holds a file of that name."""
    if is_local(url):
        return (_path(url) / name).is_file()
    return open_storage(url, storage_options).stat(name) is not None


def exists(url: str) -> bool:
    """Tell whether a file or folder of this machine is there; what lies in a bucket is not looked at."""
    return is_local(url) and _path(url).exists()


def is_local(url: str) -> bool:
    """Tell whether a URL names something on this machine."""
    return "://" not in url or url.startswith("file://")


def _path(url: str) -> Path:
    return Path(re.sub(r"^file://(localhost(?=/))?", "", url)).expanduser()


def _names(storage: Storage, prefixes: tuple[str, ...]) -> list[str]:
    found = {info.key for prefix in prefixes or ("",) for info in storage.list(prefix)}
    return sorted(filter(_visible, found))


class Listing(Protocol):
    """The names of a source's files."""

    names: list[str]
    is_file: bool

    def format(self, name: str) -> Format | None:
        """Return a file's format by its first bytes and its name."""
        ...

    def path(self, name: str) -> Path:
        """Return where a file lies on this machine; from a bucket it is copied."""
        ...


class _Local:
    """Names of files below a local folder, or of one file and those beside it that share its stem."""

    def __init__(self, url: str, prefixes: tuple[str, ...]) -> None:
        root = _path(url)
        self.is_file = root.is_file()
        self._root = root.parent if self.is_file else root
        if self.is_file:
            self.names = _beside(root.name, (path.name for path in root.parent.iterdir()))
            return
        if not root.is_dir():
            raise _missing(url)
        if prefixes:
            self.names = _names(open_storage(str(root)), prefixes)
            return
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

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None,
        folder: Path,
        prefixes: tuple[str, ...],
    ) -> None:
        self._folder, self._storage = folder, open_storage(url, storage_options)
        self.is_file = False
        if not prefixes and url.count("/") > _SLASHES_OF_BUCKET:
            above, last = self._storage.above()
            self.is_file = above.stat(last) is not None
        if self.is_file:
            self._storage = above
            self.names = _beside(last, (info.key for info in above.list(beginning_of(last))))
        else:
            self.names = _names(self._storage, prefixes)
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


def _missing(url: str) -> BadInput:
    fix = "check the spelling, and that the folder is reachable from here"
    return BadInput(Problem(url, "nothing", "a folder, a file or a prefix", fix, "source-missing"))


def _visible(name: str) -> bool:
    return not any(part.startswith((".", "__")) for part in name.split("/"))


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def stem_of(name: str) -> str:
    """Return a file's name without the suffix of its format."""
    suffixes = sorted((s for known in FORMATS for s in known.suffixes), key=len, reverse=True)
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), Path(name).suffix)
    return name[: len(name) - len(found)] or name


def beginning_of(name: str) -> str:
    """Return how the names begin of what belongs to a recording, or continues it."""
    match = _SPLIT.match(name)
    return match[1] if match else stem_of(name)


def _beside(name: str, siblings: Iterable[str]) -> list[str]:
    """Return a file and those beside it that may belong to it: the same stem, a companion's suffix."""
    stem = stem_of(name)
    kept = {f"{stem}{suffix}".lower() for known in FORMATS for suffix in known.companions}
    return sorted({name, *(other for other in siblings if other.lower() in kept or main_of(other) == name)})


def main_of(name: str) -> str | None:
    """Return the file that this one would continue, as large FIF files are continued."""
    if (match := _SPLIT.match(name)) and int(match[2]) > 1:
        return f"{match[1]}{1:0{len(match[2])}}{match[3]}"
    match = _CONTINUED.match(name)
    return f"{match[1]}{match[2]}" if match else None
