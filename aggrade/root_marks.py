"""What aggrade keeps in a root's attributes, by type: whoever changes it by hand is told what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.errors import Problem

__all__ = ["mark_problems"]

_Count = Annotated[int, Field(ge=0)]
_Pair = tuple[_Count, _Count]


class _Mark(BaseModel):
    """The attribute ``aggrade`` of a root. A later version may add to it."""

    model_config = ConfigDict(strict=True, extra="allow")

    format: int = 1
    generation: _Count = 0
    write_id: str = ""
    fenced: str | None = None
    dim: str | None = None
    grow: list[str] | None = None
    adopted: _Count | None = None
    superseded: list[_Count] | None = None
    undone: list[_Pair] | None = None
    channels: dict[str, list[_Pair]] | None = None
    catalogue: str | None = None
    source: dict[str, Any] | None = None
    rechunk: dict[str, Any] | None = None
    common: dict[str, str] | None = None
    needed_backups: list[Annotated[str, Field(pattern=r"^\d+-")]] | None = None


def mark_problems(where: str, mark: Any) -> list[Problem]:
    """Return what is wrong with what a root keeps for aggrade: fields of a type that no commit writes.

    Parameters
    ----------
    where
        The root document, for people.
    mark
        The attribute ``aggrade``, as JSON has it.

    >>> print(*mark_problems("a.zarr/zarr.json", {"generation": "3", "grow": []}))
    a.zarr/zarr.json: found attribute aggrade.generation of '3', expected a valid integer; correct it, or delete this root and restore the newest backup (aggrade restore).
    """
    if not isinstance(mark, Mapping):
        return [_problem(where, "", mark, "a mapping")]
    try:
        _Mark.model_validate_json(json.dumps(mark))
    except ValidationError as error:
        return [_wrong(where, mark, one["loc"], one["msg"]) for one in error.errors()]
    return []


def _wrong(where: str, mark: Any, place: tuple[int | str, ...], told: str) -> Problem:
    found, there = mark, ""
    for step in place:
        if isinstance(found, list) and step not in range(len(found)):
            break
        found, there = found[step], f"{there}.{step}"
    return _problem(where, there, found, told.removeprefix("Input should be "))


def _problem(where: str, field: str, found: Any, expected: str) -> Problem:
    fix = "correct it, or delete this root and restore the newest backup (aggrade restore)"
    return Problem(where, f"attribute aggrade{field} of {found!r}", expected, fix, "root-mark")
