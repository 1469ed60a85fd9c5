"""Telling documents of a newer aggrade from torn ones: what is torn is mended, what is newer is left alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aggrade.errors import Problem, Refused

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["NEWER", "is_newer", "newer_problem", "refuse_newer"]

NEWER = "newer-version"
"""Code of the problem that a document of a newer aggrade is."""


def is_newer(data: bytes, *kinds: type[BaseModel]) -> bool:
    """Tell whether a document is whole, but not one that this version knows: its keys, or what they may hold.

    Parameters
    ----------
    data
        The document's bytes.
    *kinds
        What it may be.
    """
    told = _object(data)
    if told is None or any(_is_known(data, kind) for kind in kinds):
        return False
    known = {name for kind in kinds for name in kind.model_fields}
    likely = max(kinds, key=lambda kind: len(told.keys() & kind.model_fields.keys()))
    needed = {name for name, field in likely.model_fields.items() if field.is_required()}
    return bool(told.keys() - known) or needed <= told.keys()


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _is_known(data: bytes, kind: type[BaseModel]) -> bool:
    try:
        kind.model_validate_json(data)
    except ValueError:
        return False
    return True


def newer_problem(where: str) -> Problem:
    """Return what there is to say of a document of a newer aggrade.

    Parameters
    ----------
    where
        The document, for people.
    """
    found, expected = "what a newer version of aggrade has written", "what this version knows"
    return Problem(where, found, expected, "update aggrade, then try again", NEWER)


def refuse_newer(where: str, data: bytes, *kinds: type[BaseModel]) -> None:
    """Raise if a document is of a newer aggrade: it must not be overwritten by what knows less.

    Parameters
    ----------
    where
        The document, for people.
    data, *kinds
        As for `is_newer`.

    Raises
    ------
    Refused
        If it is.
    """
    if is_newer(data, *kinds):
        raise Refused(newer_problem(where))
