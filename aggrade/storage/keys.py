"""What every kind of store asks alike: which names an object may bear, and whether a condition holds."""

from __future__ import annotations

from aggrade.errors import BadInput, Problem
from aggrade.storage import ConditionFailed, ObjectInfo

__all__ = ["check_condition", "check_key", "check_prefix", "condition_failed", "is_key", "missing_source"]

_FORBIDDEN = frozenset("\0\\")
_LONGEST = 1024  # bytes; https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html


def check_key(key: str) -> str:
    """Return `key` if it names an object on every kind of store.

    Spaces, ``#``, ``?``, ``%`` and any script are fine: keys are names, not URLs.

    Raises
    ------
    BadInput
        If a part is empty, ``.`` or ``..``, or if the key is absolute, holds a NUL or a backslash (which some
        servers take for a slash), isn't Unicode text or is longer than 1024 bytes.
    """
    if not is_key(key):
        raise _bad(key, "parts between single slashes, none of them '.' or '..'")
    return _spelled(key)


def is_key(key: str) -> bool:
    """Tell whether `check_key` lets a name pass that somebody else gave."""
    return all(part not in {"", ".", ".."} for part in key.split("/"))


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is the beginning of a key: ``""``, part of a name, or a folder with its slash.

    Raises
    ------
    BadInput
        As `check_key`.
    """
    folders = prefix.split("/")[:-1]
    if any(part in {"", ".", ".."} for part in folders) or prefix.endswith("/.."):
        raise _bad(prefix, "the beginning of a key below the storage's folder")
    return _spelled(prefix)


def check_condition(found: ObjectInfo | None, key: str, replacing: str | None) -> None:
    """Refuse a write whose condition does not hold.

    Parameters
    ----------
    found
        What lies at `key`.
    key, replacing
        As in `Storage.write`.

    Raises
    ------
    ConditionFailed
        If something is there that should not be, or another object or none where one is to be replaced.
    """
    if (found.etag if found else None) != replacing:
        raise condition_failed(key, found.etag if found else None, replacing)


def condition_failed(key: str, found: str | None, replacing: str | None) -> ConditionFailed:
    """Return the error of a write that met an object with the mark `found` (None: none)."""
    there = "no object" if found is None else f"an object with the mark {found}"
    expected = "none" if replacing is None else f"one with the mark {replacing}"
    return ConditionFailed(Problem(key, there, expected, "read it again and plan again", "condition-failed"))


def missing_source(key: str) -> Problem:
    """Return the problem of a copy whose source is not there."""
    return Problem(key, "no object", "the object that is to be copied", "verify the store", "object-missing")


def _spelled(key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise _bad(key, "Unicode text") from error
    if length > _LONGEST or not _FORBIDDEN.isdisjoint(key):
        raise _bad(key, f"at most {_LONGEST} bytes without NUL and backslash")
    return key


def _bad(key: str, expected: str) -> BadInput:
    return BadInput(Problem("key", repr(key), expected, "name the object otherwise", "key"))
