"""Which catalogues there are: a folder, a prefix, a glob, one file, or several of these; on a disk or on S3."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.catalogues.reading import format_of, is_catalogue
from aggrade.catalogues.recognising import HEAD_BYTES
from aggrade.errors import BadInput, Conflict, Problem
from aggrade.settings import settings
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.storage import ObjectInfo, Storage

__all__ = ["Source", "content_mark", "find_catalogues", "read_source"]

_log = logging.getLogger(__name__)
_GLOB = re.compile(r"[*?\[]")
_MARK_BYTES = 5


class Source(BaseModel):
    """One file of a catalogue: small and JSON-able, so that it can be sent to whoever reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(description="URL of the folder that was searched.")
    key: str = Field(description="The file's path below it.")
    etag: str = Field(description="The mark it had when it was found.")
    size: int = Field(description="Bytes.")

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.key.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where it lies."""
        return f"{self.folder}/{self.key}"


def find_catalogues(
    catalogues: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[Source, ...]:
    """Find catalogue files, sorted by where they lie, with one listing per folder.

    Parameters
    ----------
    catalogues
        A folder (searched with its sub-folders for the known endings, and for files of other endings that
        begin like a catalogue; hidden files and Zarr stores are left out), a prefix, a glob (``*`` within a
        folder, ``**`` across), one file, or several of these.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If there is none, naming where was looked.
    """
    asked = [catalogues] if isinstance(catalogues, (str, os.PathLike)) else list(catalogues)
    found = {source.url: source for each in asked for source in _found(os.fspath(each), storage_options)}
    if not found:
        where = ", ".join(os.fspath(each) for each in asked) or "catalogues"
        fix = "check the path, or name the files by a glob"
        raise BadInput(Problem(where, "no catalogues", "files of a known format", fix, "no-catalogues"))
    return tuple(found[url] for url in sorted(found))


def _found(url: str, storage_options: Mapping[str, Any] | None) -> list[Source]:
    if match := _GLOB.search(url):
        folder, _, rest = url[: match.start()].rpartition("/")
        return _globbed(open_storage(folder or _top(url), storage_options), rest + url[match.start() :])
    storage = open_storage(url.rstrip("/") or url, storage_options)
    above = _above(storage)
    if above and is_catalogue(above[1]) and (info := above[0].stat(above[1])):
        return [_source(above[0], info)]
    return _chosen(storage, list(storage.list(""))) or (_prefixed(*above) if above else [])


def _prefixed(storage: Storage, prefix: str) -> list[Source]:
    """Return the one file of that name, or those whose names begin so."""
    listed = list(storage.list(prefix))
    return _chosen(storage, [info for info in listed if info.key == prefix] or listed)


def _above(storage: Storage) -> tuple[Storage, str] | None:
    """Return the folder that holds this one, and this one's name in it; None for a whole disk or bucket."""
    try:
        return storage.above()
    except BadInput:
        return None


def _top(url: str) -> str:
    return "/" if url.startswith("/") else "."


def _chosen(storage: Storage, listed: list[ObjectInfo]) -> list[Source]:
    infos = [info for info in listed if not _is_hidden(info.key)]
    taken = {info.key for info in infos if is_catalogue(info.key)}
    taken |= _by_content(storage, [info.key for info in infos if info.key not in taken])
    known = [_source(storage, info) for info in infos if info.key in taken]
    if len(known) < len(infos) and known:
        other = next(info.key for info in infos if info.key not in taken)
        _log.warning(
            "%s: %d files of no known format left out, such as %s",
            storage.url,
            len(infos) - len(known),
            other,
        )
    return known


def _by_content(storage: Storage, keys: Sequence[str]) -> set[str]:
    """Return those that begin like a catalogue, and those that begin like one of the same ending, as torn ones do."""
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        looks = dict(zip(keys, pool.map(functools.partial(_look, storage), keys), strict=True))
    begun = {(_ending(key), mark) for key, (is_known, mark) in looks.items() if is_known}
    return {
        key
        for key, (is_known, mark) in looks.items()
        if is_known or any(_ending(key) == ending and known.startswith(mark) for ending, known in begun)
    }


def _look(storage: Storage, key: str) -> tuple[bool, bytes]:
    """Return whether a file begins like a catalogue, and its very first bytes."""
    stored = storage.read(key, stop=HEAD_BYTES)
    head = b"" if stored is None else stored.data
    return format_of(key, head) is not None, head[:_MARK_BYTES]


def _ending(key: str) -> str:
    return key.rpartition("/")[2].rpartition(".")[2].lower()


def _globbed(storage: Storage, pattern: str) -> list[Source]:
    fixed = _GLOB.split(pattern, maxsplit=1)[0]
    wanted = re.compile(_translated(pattern))
    return _chosen(storage, [info for info in storage.list(fixed) if wanted.fullmatch(info.key)])


def _translated(pattern: str) -> str:
    """Return a glob as a regular expression: ``**`` crosses folders, ``*`` and ``?`` do not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(said.get(part) or _class(part) for part in parts)


def _class(part: str) -> str:
    if part.startswith("[") and len(part) > 2:
        return "[" + ("^" + part[2:-1] if part[1] in "!^" else part[1:-1]).replace("\\", "\\\\") + "]"
    return re.escape(part)


def _is_hidden(key: str) -> bool:
    parts = key.split("/")
    return any(part.startswith((".", "_")) or part.endswith((".zarr", ".zarr.backups")) for part in parts)


def _source(storage: Storage, info: ObjectInfo) -> Source:
    return Source(folder=storage.url, key=info.key, etag=info.etag, size=info.size)


def read_source(source: Source, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    Conflict
        If it is not the file that was found any more.
    """
    stored = open_storage(source.folder, storage_options).read(source.key)
    if stored is None or stored.etag != source.etag:
        found = "no file any more" if stored is None else "another file than was found a moment ago"
        fix = "wait until the delivery is complete, then run it again"
        raise Conflict(Problem(source.url, found, "a file that stays as it is", fix, "catalogue-changed"))
    return stored.data


def content_mark(
    source: Source, data: bytes | None = None, storage_options: Mapping[str, Any] | None = None
) -> str:
    """Return a mark of a file's content that is the same for the same file, wherever the work is done.

    On S3 it is the mark that came with the listing. A disk's marks change when a file is copied, so there it is
    a digest of the bytes.

    Parameters
    ----------
    source
        The file.
    data
        Its bytes, if they were read already.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    if source.folder.startswith("s3://"):
        return source.etag
    return hashlib.sha256(read_source(source, storage_options) if data is None else data).hexdigest()
