"""Names of variables become parts of keys: what a disk, S3 or Zarr can't hold is refused before the first byte.

The limits go for every store, wherever it lies, so that it can be copied to any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrade.commit.backup import COPIES, backup_id
from aggrade.commit.documents import dims_of, grid_of, key_of, resized, shape_of
from aggrade.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.asked import Asked

__all__ = ["LONGEST_KEY", "LONGEST_PART", "keys_fit", "names_can_be_stored"]

LONGEST_PART = 255
"""Bytes of one part of a key: what file systems hold (``NAME_MAX`` of Linux)."""

LONGEST_KEY = 1024
"""Bytes of a key in its bucket; https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html."""

_TAKEN = {"zarr.json", "c"}
_BACKUP = f".backups/{backup_id(0, '0' * 24)}/{COPIES}"
_SHOWN = 60


def names_can_be_stored(asked: Asked) -> Iterator[Problem]:
    """Refuse names that can't be a part of a key, or are a key of Zarr's own, and dimensions without a name."""
    for name in asked.dataset.variables:
        found = _fault_of(name)
        if found is not None:
            yield Problem(f"variable {name!r}", found, "a plain name", "rename it", "name")
    for dim in asked.dataset.sizes:
        if dim not in asked.dataset.variables and (not dim or not _is_text(dim)):
            found = "a name that isn't Unicode text" if dim else "an empty name"
            yield Problem(f"dimension {dim!r}", found, "a plain name", "rename it", "name")


def _fault_of(name: Any) -> str | None:
    """Return why a variable can't bear a name, None if it can."""
    if not _is_text(name):
        return "a name that isn't Unicode text"
    size = len(name.encode())
    if size > LONGEST_PART:
        return f"a name of {size} bytes, which no disk can hold: {LONGEST_PART} at most"
    if "\\" in name or "\0" in name:
        return "a backslash or a NUL in a name, which Zarr can't hold"
    if not name or "/" in name or name.startswith((".", "__")) or name in _TAKEN:
        return "a name that Zarr can't hold"
    return None


def _is_text(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(name.encode() or True)
    except UnicodeEncodeError:
        return False


def keys_fit(asked: Asked) -> Iterator[Problem]:
    """Refuse variables whose longest key, in the store or in a backup of it, is longer than S3 allows."""
    place = asked.store.partition("://")[2].partition("/")[2] if "://" in asked.store else ""
    for name, document in asked.documents.items():
        shape = dict(zip(dims_of(document), shape_of(document), strict=True))
        before = shape.get(asked.dim, 0) if asked.stored is not None else 0
        more = {str(dim): max(size, shape.get(str(dim), 0)) for dim, size in asked.dataset.sizes.items()}
        grown = resized(document, {**more, asked.dim: before + asked.dataset.sizes.get(asked.dim, 0)})
        last = key_of(name, document, tuple(max(count - 1, 0) for count in grid_of(grown)))
        longest = f"{place}{_BACKUP}{max(last, f'{name}/zarr.json', key=len)}"
        size = len(longest.encode())
        if size > LONGEST_KEY:
            found = f"a key of {size} bytes below {place[:_SHOWN]}…"
            expected = f"at most {LONGEST_KEY} bytes, the most that S3 holds"
            fix = "shorten the name, or put the store under a shorter prefix"
            yield Problem(f"variable {name!r}", found, expected, fix, "key-length")
