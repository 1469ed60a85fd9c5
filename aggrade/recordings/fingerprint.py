"""Whether a recording may have changed, found out without reading it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem
from aggrade.recordings.bids import DESCRIPTION, place_of
from aggrade.recordings.listing import beginning_of, exists, holds, main_of
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.storage import ObjectInfo

__all__ = ["source_fingerprint"]

_SUFFIXES = re.compile(r"(\.[A-Za-z0-9]+)+$")


def source_fingerprint(url: str, *, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return a digest of the names, sizes and marks of a session's files, from listings.

    It changes whenever a file of the session is written, added or removed, and may change when nothing but a
    file's time did; `aggrade.recordings.discover.source_digest` reads the files and says whether the content did.

    Parameters
    ----------
    url
        A session's folder, file, prefix or object.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If nothing lies there.
    Unavailable
        If the store does not answer.
    """
    plain = re.sub(r"^file://(localhost(?=/))?", "", url).rstrip("/")
    found = [info for info in _files(plain, storage_options) if _is_visible(info.key)]
    if not found:
        fix = "put a recording there, or check the spelling and that the folder is reachable from here"
        raise BadInput(
            Problem(url, "no recording", "a folder, file or prefix with one", fix, "source-missing")
        )
    lines = "".join(f"{info.key}\0{info.size}\0{info.etag}\n" for info in found)
    return hashlib.sha256(lines.encode()).hexdigest()


def _files(url: str, storage_options: Mapping[str, Any] | None) -> Iterable[ObjectInfo]:
    place = None if exists(url) else place_of(url)
    if place is not None and holds(place.root, DESCRIPTION, storage_options):
        storage = open_storage(place.root, storage_options)
        found = {info.key: info for prefix in place.prefixes for info in storage.list(prefix)}
        return [found[name] for name in place.files(sorted(found))]
    inside = list(open_storage(url, storage_options).list())
    if inside:
        return inside
    above, _, name = url.rpartition("/")
    stem = _SUFFIXES.sub("", name) or name
    beside = open_storage(above or ".", storage_options).list(min(stem, beginning_of(name), key=len))
    own = (f"{stem}.", f"{stem}-")
    return [info for info in beside if name in (info.key, main_of(info.key)) or info.key.startswith(own)]


def _is_visible(key: str) -> bool:
    return not any(part.startswith((".", "__")) for part in key.split("/"))
